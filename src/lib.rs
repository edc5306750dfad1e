//! AgentPool shares a GPU budget among LLM agents: one decision for all of them, explained.
//!
//! Data flows one way, and the modules stand in that order:
//!
//! ```text
//!  AgentPool ──api──▶ ValidPool ─┐
//!  pods, nodes, workloads ───────┤ observe (controller)
//!  /metrics ───────signals───────┘
//!                                ▼
//!              Snapshot ──allocation──▶ target shares ──sharing──▶ Plan ──apply, report (controller)──▶ cluster
//! ```
//!
//! `recording` says what a decision is computed from and what it came to, so that it can be computed again.
//! `simulation` runs the same allocation and sharing code against a model of load and cluster.
//!
//! `units`, `allocation`, `sharing`, `recording` and `simulation` are pure: values in, values out, the time as an argument. A test
//! (`tests/house.rs`) fails when they name a Kubernetes client, an async runtime or a clock.
#![forbid(unsafe_code)]

pub mod units;

pub mod api;
pub mod signals;

pub mod allocation;
pub mod sharing;

pub mod recording;

pub mod controller;
pub mod simulation;

pub mod cli;
pub mod telemetry;
