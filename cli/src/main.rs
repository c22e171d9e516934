//! The command `egret`.

fn main() {}
