//! AgentPool.
#![forbid(unsafe_code)]
