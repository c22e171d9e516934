//! The entry over HTTP/1: a request that asks the proxy itself for something.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::entry::listener::ClientStream;
use crate::refusal::Refusal;

/// The answer to a CONNECT that is let in.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";

pub(crate) async fn establish(stream: &mut ClientStream) -> std::io::Result<()> {
    stream.write_all(ESTABLISHED).await?;
    // Over TLS the last bytes may wait in the library.
    stream.flush().await
}

/// Writes a refusal of a CONNECT, with the code in the reason phrase, since that is what clients show of a failed CONNECT.
pub(crate) async fn write_refusal(mut stream: ClientStream, refusal: &Refusal, record: &str) {
    let answer = answer_bytes(refusal, record);
    let linger = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        // Closing while the client still sends would reset the connection and take the answer away.
        let mut sink = [0; 4 << 10];
        while stream.read(&mut sink).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(std::time::Duration::from_secs(2), linger).await {
        tracing::debug!(%error, "a refusal could not be written");
    }
}

/// A refusal as an HTTP/1.1 response that closes the connection.
pub(crate) fn answer_bytes(refusal: &Refusal, record: &str) -> Vec<u8> {
    let body = refusal.problem(record);
    let mut answer = format!("HTTP/1.1 {} {}\r\n", refusal.row().status.as_u16(), refusal.reason().code()).into_bytes();
    for (name, value) in &refusal.fields(record) {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    answer.extend_from_slice(&body);
    answer
}

