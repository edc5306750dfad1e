//! The engine stand-in: what answers on the pods' addresses, at the speed that the GPUs allow.
//!
//! [`physics`] says how fast, [`placement`] on which GPU, [`profile`] what a pod's annotations ask for,
//! [`metrics`] what an engine tells about itself and [`stats`] what its clients saw. [`view`] reads pods and nodes;
//! [`world`] puts all of it together, without I/O.

pub mod metrics;
pub mod physics;
pub mod placement;
pub mod profile;
pub mod stats;
pub mod view;
pub mod world;
