/// How those who share a device get on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Device {
    /// Busy servers take turns on all of it in proportion to their weights; an idle one lends its turn. While two or more are
    /// busy, `efficiency` of its speed is left; in (0, 1].
    Turns {
        /// See above.
        efficiency: f64,
    },
    /// Weights are caps, in GPUs: nobody is slowed down while those of busy servers sum up to at most `gpus`, and all in
    /// proportion beyond.
    Caps {
        /// See above.
        gpus: f64,
    },
    /// The busy server of the largest weight has all of it, and interrupts the others; of equal weights the first.
    Priority,
}

/// What a device knows of its busy servers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Busy {
    pub count: usize,
    pub weight: f64,
    pub first: usize,
}

impl Busy {
    /// From the busy servers and their weights.
    pub fn of(servers: impl Iterator<Item = (usize, f64)>) -> Self {
        let none = Self {
            count: 0,
            weight: 0.0,
            first: usize::MAX,
        };
        let mut largest = f64::NEG_INFINITY;
        servers.fold(none, |mut busy, (server, weight)| {
            busy.count += 1;
            busy.weight += weight;
            if weight > largest {
                largest = weight;
                busy.first = server;
            }
            busy
        })
    }
}

impl Device {
    /// The part of it that a busy server occupies: while servers are switched it is busy, and none of them serves.
    pub(super) fn occupied(&self, busy: &Busy, server: usize, weight: f64) -> f64 {
        match self {
            Self::Turns { .. } => Self::Turns { efficiency: 1.0 }.part(busy, server, weight),
            Self::Caps { .. } | Self::Priority => self.part(busy, server, weight),
        }
    }

    /// The part of its speed that a busy server has here.
    pub(super) fn part(&self, busy: &Busy, server: usize, weight: f64) -> f64 {
        match *self {
            Self::Turns { .. } if busy.count <= 1 => 1.0,
            Self::Turns { efficiency } if busy.weight > 0.0 => efficiency * weight / busy.weight,
            Self::Turns { efficiency } => efficiency / busy.count as f64,
            Self::Caps { gpus } if busy.weight > gpus => gpus / busy.weight,
            Self::Caps { .. } => 1.0,
            Self::Priority => f64::from(u8::from(busy.first == server)),
        }
    }
}
