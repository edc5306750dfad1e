//! The test bench.
#![forbid(unsafe_code)]

pub mod engine;
