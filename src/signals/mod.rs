//! Load comes in: scrapes of the pods' own `/metrics`, a Prometheus server, engine dialects; freshness as a value.
