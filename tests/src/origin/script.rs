//! Raw answers that no HTTP library would write.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::State;

/// The steps after the head of each request has arrived.
#[derive(Clone, Debug)]
pub struct Script {
    steps: Arc<Vec<Step>>,
}

/// One step of a script.
#[derive(Clone, Debug)]
pub enum Step {
    /// These bytes, as one TLS record, on the wire before the next step begins.
    Write(Vec<u8>),
    /// Wait until the test opens the gate.
    Gate(String),
    /// End the connection.
    Close,
}

impl Script {
    /// A script of these steps.
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps: Arc::new(steps) }
    }

    /// One answer in one piece.
    pub fn answer(bytes: &[u8]) -> Self {
        Self::new(vec![Step::Write(bytes.to_vec())])
    }

    pub(super) async fn play<S: AsyncRead + AsyncWrite + Unpin>(self, mut stream: S, state: &State) {
        while read_head(&mut stream).await {
            for step in self.steps.iter() {
                match step {
                    Step::Write(bytes) => {
                        if stream.write_all(bytes).await.is_err() || stream.flush().await.is_err() {
                            return;
                        }
                        // Gives the reader time to read this piece alone; correctness does not depend on it.
                        tokio::task::yield_now().await;
                    }
                    Step::Gate(name) => state.wait_at(name).await,
                    Step::Close => {
                        let _gone = stream.shutdown().await;
                        return;
                    }
                }
            }
        }
    }
}

/// Reads up to the empty line; returns false at the end of the connection.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> bool {
    let mut head = Vec::new();
    let mut byte = [0u8; 1];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            Ok(_) | Err(_) => return false,
        }
    }
    true
}
