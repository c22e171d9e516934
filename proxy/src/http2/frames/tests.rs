//! The budget of control frames: the counted frames, the free ones, and the end of a connection.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn heads(skip: usize, pieces: &[&[u8]]) -> Vec<(usize, u8, u32)> {
    let (mut reader, mut found) = (Reader::new(skip), Vec::new());
    for piece in pieces {
        reader.feed(piece, |head| found.push((head.length, head.kind, head.stream)));
    }
    found
}

#[test]
fn headers_are_found_however_the_stream_is_cut() {
    let text = [b"PRI".to_vec(), frame(4, 0, 0, b""), frame(0, 1, 3, &[9; 300]), frame(6, 0, 0, &[0; 8])].concat();
    let want = [(0, 4, 0), (300, 0, 3), (8, 6, 0)];
    for cut in 0..=text.len() {
        let (front, back) = text.split_at(cut);
        assert_eq!(heads(3, &[front, back]), want, "cut at {cut}");
    }
    let single: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(heads(3, &single), want);
}

/// How many frames of this kind pass before the budget of 5 is exceeded, of 20.
fn admitted(peer: Peer, head: Head) -> usize {
    let now = Instant::now();
    let mut budget = Budget::new(peer, 5, now);
    (0..20).take_while(|_| budget.admits(head, now)).count()
}

fn head(kind: u8, flags: u8, length: usize) -> Head {
    Head { length, kind, flags, stream: 1, code: 0 }
}

#[test]
fn t126_each_kind_of_control_frame_is_counted_and_no_other() {
    // PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION, and an unknown type.
    for kind in [2, 3, 4, 5, 6, 7, 8, 9, 0x77] {
        assert_eq!(admitted(Peer::Client, head(kind, 0, 8)), 5, "kind {kind}");
        assert_eq!(admitted(Peer::Server, head(kind, 0, 8)), 5, "kind {kind}");
    }
    assert_eq!(admitted(Peer::Client, head(DATA, 0, 0)), 5, "empty DATA");
    assert_eq!(admitted(Peer::Client, head(DATA, PADDED, 200)), 5, "DATA that may be padding alone");
    assert_eq!(admitted(Peer::Client, head(DATA, END_STREAM, 0)), 20, "the end of a stream");
    assert_eq!(admitted(Peer::Client, head(DATA, 0, 1)), 20);
    assert_eq!(admitted(Peer::Client, head(HEADERS, 4, 100)), 20, "requests have limits of their own");
}

#[test]
fn answers_to_our_frames_are_free() {
    let now = Instant::now();
    let mut budget = Budget::new(Peer::Client, 5, now);
    for _ in 0..100 {
        budget.sent(head(DATA, 0, 100));
        for kind in [WINDOW_UPDATE, WINDOW_UPDATE, PING] {
            assert!(budget.admits(head(kind, 0, 4), now));
        }
    }
    assert_eq!((budget.used, budget.credit), (0, 0));
    // A server may end each stream that was opened to it; a client that ends its own must stay within the budget.
    let ended = |peer| {
        let mut budget = Budget::new(peer, 5, now);
        (0..20)
            .take_while(|_| {
                budget.sent(head(HEADERS, 4, 100));
                budget.admits(head(RST_STREAM, 0, 4), now)
            })
            .count()
    };
    assert_eq!((ended(Peer::Server), ended(Peer::Client)), (20, 5));
    // Saved free frames have a bound.
    (0..1_000).for_each(|_| budget.sent(head(DATA, 0, 100)));
    assert_eq!(budget.credit, 5 * MAX_CREDIT);
}

#[test]
fn the_budget_comes_back_after_its_period() {
    let began = Instant::now();
    let mut budget = Budget::new(Peer::Client, 2, began);
    let ping = head(PING, 0, 8);
    let at = |budget: &mut Budget, seconds| budget.admits(ping, began + Duration::from_secs(seconds));
    assert_eq!([0, 5, 9].map(|second| at(&mut budget, second)), [true, true, false]);
    assert_eq!([10, 11, 12].map(|second| at(&mut budget, second)), [true, true, false]);
}

#[tokio::test]
async fn t126_a_peer_over_its_budget_is_told_and_closed() {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let mut frames = Frames::new(ours, Peer::Client, 3);
    let exceeded = frames.exceeded();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    theirs.write_all(preface).await.unwrap();
    theirs.write_all(&frame(4, 0, 0, b"")).await.unwrap();
    theirs.write_all(&frame(HEADERS, 5, 7, b"x")).await.unwrap();
    frames.write_all(&frame(4, 0, 0, b"")).await.unwrap();
    let mut read = vec![0; 24 + 9 + 10];
    frames.read_exact(&mut read).await.unwrap();
    assert!(!exceeded.load(Ordering::Relaxed));
    for _ in 0..4 {
        theirs.write_all(&frame(PING, 0, 0, &[0; 8])).await.unwrap();
    }
    assert!(frames.read(&mut read).await.is_err());
    assert!(exceeded.load(Ordering::Relaxed));
    drop(frames);
    let mut got = Vec::new();
    theirs.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, [frame(4, 0, 0, b""), frame(7, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 11])].concat());
}

#[tokio::test]
async fn too_many_informational_responses_end_the_connection_and_are_named() {
    for (heads, ends) in [(33, false), (34, true)] {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let mut frames = Frames::new(ours, Peer::Server, 1_000);
        let interim = frames.interim();
        frames.write_all(&[b'P'; 24]).await.unwrap();
        frames.write_all(&frame(HEADERS, 5, 7, b"x")).await.unwrap();
        theirs.write_all(&frame(HEADERS, 4, 7, b"x").repeat(heads)).await.unwrap();
        let read = frames.read_exact(&mut vec![0; heads * 10]).await;
        assert_eq!((read.is_err(), interim.is_exceeded()), (ends, ends), "{heads}");
        if ends {
            theirs.write_all(&frame(PING, 0, 0, &[0; 8])).await.unwrap();
            assert!(frames.read(&mut [0; 100]).await.is_err(), "nor is more read");
        }
    }
}

#[tokio::test]
async fn within_a_frame_of_ours_nothing_is_said() {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let mut frames = Frames::new(ours, Peer::Server, 1);
    frames.write_all(&[b'P'; 24]).await.unwrap();
    frames.write_all(&frame(DATA, 0, 1, b"abcd")[..11]).await.unwrap();
    theirs.write_all(&frame(4, 0, 0, b"").repeat(2)).await.unwrap();
    assert!(frames.read(&mut [0; 100]).await.is_err());
    drop(frames);
    let mut got = Vec::new();
    theirs.read_to_end(&mut got).await.unwrap();
    assert_eq!(got.len(), 24 + 11);
}

#[test]
fn t066_a_stream_that_is_answered_before_it_was_accepted_was_rejected() {
    let unserved = Unserved::default();
    let head = |kind, stream, code| Head { length: 4, kind, flags: 0, stream, code };
    for stream in [1, 3, 5, 7, 9] {
        unserved.came(head(HEADERS, stream, 0), true);
    }
    // The client takes one back, and one is accepted and then answered.
    unserved.came(head(RST_STREAM, 9, 8), false);
    unserved.accept(7);
    for (kind, stream, code) in [
        (RST_STREAM, 1, PROTOCOL_ERROR),
        (HEADERS, 3, 0),
        (RST_STREAM, 5, 7),
        (HEADERS, 7, 0),
        (RST_STREAM, 9, PROTOCOL_ERROR),
    ] {
        unserved.sent(head(kind, stream, code));
    }
    assert_eq!(unserved.take(), [Rejected::Malformed, Rejected::TooLarge]);
    assert_eq!(unserved.take(), []);
    // Accepted in the poll in which it was reset for its body: its exchange records that.
    unserved.sent(head(RST_STREAM, 5, PROTOCOL_ERROR));
    unserved.accept(5);
    assert_eq!(unserved.take(), []);
}

#[test]
fn the_code_of_a_reset_is_read_however_the_stream_is_cut() {
    let text = [frame(3, 0, 5, &[0, 0, 0, 8]), frame(3, 0, 7, &[1, 2]), frame(6, 0, 0, &[0; 8])].concat();
    for size in 1..text.len() {
        let (mut reader, mut found) = (Reader::new(0), Vec::new());
        text.chunks(size).for_each(|piece| reader.feed(piece, |head| found.push((head.kind, head.stream, head.code))));
        assert_eq!(found, [(3, 5, 8), (3, 7, 0), (6, 0, 0)], "{size}");
    }
}
