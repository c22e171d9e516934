//! `cargo xtask`: the tasks that cargo alone cannot say.

fn main() {}
