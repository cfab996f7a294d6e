//! A trainer to practise on: the simulated Trainer API and artifact host.
