//! A Prometheus server named by the administrator as a source of samples.
