//! The proof of docs/framing.md. A generated corpus is read by the product, by an independent reader (httparse) and by a small model
//! of the rules; odd responses pass through whole exchanges.

mod chunks;
mod counts;
mod exchanges;
mod generator;
mod oracle;
mod pieces;
mod requests;
mod responses;
mod rules;
