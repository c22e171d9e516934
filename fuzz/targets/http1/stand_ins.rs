//! The limits and the refusal of the product, as far as the reader of requests needs them. The real ones would bring the whole proxy.

pub(crate) mod config {
    pub(crate) struct Limits {
        pub(crate) max_target_bytes: usize,
        pub(crate) max_fields: usize,
    }

    impl Default for Limits {
        fn default() -> Self {
            Self { max_target_bytes: 16 << 10, max_fields: 100 }
        }
    }
}

pub(crate) mod refusal {
    use std::borrow::Cow;

    use model::{HostError, Reason};

    #[derive(Debug)]
    #[allow(dead_code, reason = "a failed assertion shows it")]
    pub(crate) struct Refusal(pub(crate) Reason);

    impl Refusal {
        pub(crate) fn of(reason: Reason, _detail: impl Into<Cow<'static, str>>) -> Self {
            Self(reason)
        }

        pub(crate) fn bad_host(_error: HostError) -> Self {
            Self(Reason::BadHost)
        }
    }
}
