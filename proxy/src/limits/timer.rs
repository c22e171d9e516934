//! The timers of an exchange: the name of each, the fault when it fires, and the resulting refusal.

use audit::Fault;
use model::Reason;

use crate::refusal::Refusal;

/// A timer that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// TCP and TLS to the upstream.
    Connect,
    /// From the end of the request to the head of the response.
    FirstByte,
    /// No byte moved, and the upstream was to move next.
    Idle,
    /// No byte moved, and the client was to send next.
    ClientIdle,
    /// The client sends its body below the minimum rate.
    UploadRate,
    /// The upstream sends a body of known length below the minimum rate.
    DownloadRate,
    /// The client leaves an answer unread.
    Unread,
}

impl Timer {
    /// The timer, for records and clients.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::FirstByte => "first_byte",
            Self::Idle | Self::ClientIdle => "idle",
            Self::UploadRate | Self::DownloadRate => "minimum_rate",
            Self::Unread => "unread",
        }
    }

    /// The fault when it fires.
    pub(crate) fn fault(self) -> Fault {
        match self {
            Self::Connect | Self::FirstByte | Self::Idle | Self::DownloadRate => Fault::Upstream,
            Self::ClientIdle | Self::UploadRate | Self::Unread => Fault::Downstream,
        }
    }

    /// The code of the record and, before the head of a response, of the refusal.
    pub(crate) fn reason(self) -> Reason {
        match self.fault() {
            Fault::Upstream => Reason::UpstreamTimeout,
            Fault::Downstream | Fault::Policy | Fault::Egret => Reason::TimeoutHead,
        }
    }

    /// The answer, if none has begun.
    pub(crate) fn refusal(self) -> Refusal {
        let detail = match self {
            Self::Connect => "the connection to the upstream was not made in time",
            Self::FirstByte => "the upstream did not answer in time",
            Self::Idle => "the upstream did not take the request in time",
            Self::ClientIdle => "the request body stopped before its end",
            Self::UploadRate => "the request body came below the minimum rate",
            Self::DownloadRate => "the response came below the minimum rate",
            Self::Unread => "the answer was not read",
        };
        Refusal::of(self.reason(), detail).with_class(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_timer_is_504_and_a_client_timer_408() {
        for (timer, status, name) in [
            (Timer::Connect, 504, "connect"),
            (Timer::FirstByte, 504, "first_byte"),
            (Timer::Idle, 504, "idle"),
            (Timer::DownloadRate, 504, "minimum_rate"),
            (Timer::ClientIdle, 408, "idle"),
            (Timer::UploadRate, 408, "minimum_rate"),
            (Timer::Unread, 408, "unread"),
        ] {
            let refusal = timer.refusal();
            assert_eq!((refusal.row().status.as_u16(), refusal.class()), (status, Some(name)), "{timer:?}");
            assert_eq!(refusal.row().fault, timer.fault(), "{timer:?}");
        }
    }
}
