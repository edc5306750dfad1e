//! The AgentPool types, their CEL rules, conditions and reasons; AgentPool -> ValidPool, once.
