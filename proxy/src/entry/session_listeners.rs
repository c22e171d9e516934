//! The session listeners of one core: accepts on each as long as its session has it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use model::{SessionId, log_limited};
use sessions::{Registry, SessionListener};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::entry::channel::Channel;
use crate::entry::listener::{ClientStream, peer_of};

/// A client that connected.
pub(crate) type Connected = (ClientStream, Channel);

/// The listeners that a core accepts on. Each belongs to one core, so that it uses two descriptors for any number of cores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// The number of the core.
    pub(crate) core: usize,
    /// How many cores there are.
    pub(crate) cores: usize,
}

impl Share {
    fn has(self, id: &SessionId) -> bool {
        // The last characters of an id are random.
        let last = id.as_str().bytes().rev().take(4).fold(0, |sum: usize, byte| sum * 31 + usize::from(byte));
        last % self.cores.max(1) == self.core
    }
}

/// Accepts on the listeners of its share of sessions, and sends the accepted connections.
///
/// # Cancellation
/// Stops accepting on all of them.
pub(crate) async fn accept_all(registry: Arc<Registry>, share: Share, connected: mpsc::Sender<Connected>) {
    let Some((mut listeners, mut changes)) = registry.listeners() else { return };
    let (mut tasks, mut accepting) = (JoinSet::new(), HashMap::new());
    loop {
        accepting.retain(|id: &SessionId, task: &mut tokio::task::AbortHandle| {
            let is_open = listeners.iter().any(|listener| listener.session().id == *id);
            if !is_open {
                task.abort();
            }
            is_open
        });
        for listener in listeners.iter().filter(|listener| share.has(&listener.session().id)) {
            let id = &listener.session().id;
            if !accepting.contains_key(id) {
                accepting.insert(id.clone(), tasks.spawn(accept(listener.clone(), connected.clone())));
            }
        }
        drop(listeners);
        // Aborted tasks are removed here.
        while tasks.try_join_next().is_some() {}
        if changes.changed().await.is_err() {
            return;
        }
        let Some((open, _)) = registry.listeners() else { return };
        listeners = open;
    }
}

/// Accepts on one listener, on a duplicate of its socket.
async fn accept(listener: Arc<SessionListener>, connected: mpsc::Sender<Connected>) {
    let session = listener.session().clone();
    let duplicate: io::Result<UnixListener> = listener.socket().try_clone().and_then(UnixListener::from_std);
    drop(listener);
    let socket = match duplicate {
        Ok(socket) => socket,
        Err(error) => {
            return log_limited!(error, session = %session.id, %error, "the listener of a session cannot be used");
        }
    };
    loop {
        let accepted = socket.accept().await.and_then(|(stream, _)| Ok((peer_of(&stream)?, stream)));
        match accepted {
            Ok((peer, stream)) => {
                let client = (ClientStream::Unix(stream), Channel::Listener(session.clone(), peer));
                if connected.send(client).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                log_limited!(warn, %error, "a connection to the listener of a session could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listener_belongs_to_one_core() {
        let ids: Vec<SessionId> = (0..100).map(|n| SessionId::new(format!("ses_{n:04}"))).collect();
        for cores in [1, 2, 3, 64] {
            let owners = |id: &SessionId| (0..cores).filter(|core| Share { core: *core, cores }.has(id)).count();
            assert!(ids.iter().all(|id| owners(id) == 1), "{cores}");
        }
        let of_first = ids.iter().filter(|id| Share { core: 0, cores: 2 }.has(id)).count();
        assert!((30..=70).contains(&of_first), "{of_first}");
    }
}
