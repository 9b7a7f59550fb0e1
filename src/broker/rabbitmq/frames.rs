//! Follows the frames that the server sends, and mends those that lapin could not read (see mend.rs).
//!
//! Bodies, and every other frame that holds no text of a publisher's, are counted by their length and passed on where
//! they are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::broker::rabbitmq::mend;
use crate::telemetry::metrics::Metrics;

/// Type, channel and size of a frame.
const HEAD: usize = 7;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const END: u8 = 0xCE;

/// The size of a frame in bytes that every AMQP client must accept.
const LEAST_FRAME: usize = 4096;
/// By so many bytes a frame may exceed the size agreed. RabbitMQ sends all headers of a message in one frame,
/// together with what it has added to them itself.
const OVER: usize = 1024 * 1024;
/// The time between two lines of the log.
const QUIET: Duration = Duration::from_secs(10);

/// Counts the messages that were mended, and logs that now and then.
pub(super) struct Mended {
    metrics: Metrics,
    since: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Mended {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, since: AtomicU64::new(0), told: Mutex::new(None) }
    }

    fn count(&self) {
        self.metrics.mended();
        self.since.fetch_add(1, Ordering::Relaxed);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= QUIET) {
            *told = Some(Instant::now());
            let messages = self.since.swap(0, Ordering::Relaxed);
            tracing::warn!(
                messages,
                "a publisher's properties or headers cannot be read as they are: they were mended"
            );
        }
    }
}

/// The place within the server's frames.
pub(super) struct Frames {
    /// So many bytes, the rest of a frame, pass without being looked at.
    passing: u64,
    /// A frame whose rest has not come yet, from its first byte on; or a whole frame that has still to be given out.
    held: Vec<u8>,
    /// How many bytes of `held` were given out, once it is whole.
    given: Option<usize>,
    /// The size of a frame in bytes, as client and server have agreed.
    frame_max: usize,
    mended: Arc<Mended>,
}

impl Frames {
    /// `frame_max` is what we ask for, if we ask for anything. The server may grant less.
    pub(super) fn new(frame_max: Option<u32>, mended: Arc<Mended>) -> Self {
        let frame_max = agreed(usize::MAX, frame_max.unwrap_or(0));
        Self { passing: 0, held: Vec::new(), given: None, frame_max, mended }
    }

    /// Gives out what was held back, if it is whole.
    pub(super) fn give(&mut self, to: &mut [u8]) -> Option<usize> {
        let from = self.given?;
        let count = to.len().min(self.held.len() - from);
        to[..count].copy_from_slice(&self.held[from..from + count]);
        self.given = Some(from + count);
        if from + count == self.held.len() {
            self.given = None;
            // A large frame is rare, so the memory that it took is not kept.
            self.held = Vec::new();
        }
        Some(count)
    }

    /// How many bytes of a frame that is held back must be read next, before anything else.
    pub(super) fn missing(&self) -> Option<usize> {
        if self.held.is_empty() || self.given.is_some() {
            return None;
        }
        Some(Head::of(&self.held).map_or(HEAD, |head| head.whole) - self.held.len())
    }

    /// Takes the bytes that [`Frames::missing`] asked for.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        let Some(head) = Head::of(&self.held) else { return };
        if !head.is_looked_into(self.frame_max) {
            self.passing = head.passing() - self.held.len() as u64;
            self.given = Some(0);
        } else if self.held.len() == head.whole {
            let mut held = std::mem::take(&mut self.held);
            let length = self.mend(&mut held, &head);
            held.truncate(length);
            self.held = held;
            self.given = Some(0);
        }
    }

    /// Looks through what was read. Returns how many of the bytes, from the first on, lapin may have now; the others
    /// are held back.
    pub(super) fn scan(&mut self, bytes: &mut [u8]) -> usize {
        let (mut read, mut write) = (0, 0);
        while read < bytes.len() {
            let left = bytes.len() - read;
            let mut count = usize::try_from(self.passing).unwrap_or(usize::MAX).min(left);
            let mut stays = count;
            if count == 0 {
                let Some(head) = Head::of(&bytes[read..]) else {
                    self.held = bytes[read..].to_vec();
                    break;
                };
                if !head.is_looked_into(self.frame_max) {
                    self.passing = head.passing();
                    continue;
                }
                if head.whole > left {
                    self.held = Vec::with_capacity(head.whole);
                    self.held.extend_from_slice(&bytes[read..]);
                    break;
                }
                count = head.whole;
                stays = self.mend(&mut bytes[read..read + count], &head);
            } else {
                self.passing -= count as u64;
            }
            if read != write {
                bytes.copy_within(read..read + stays, write);
            }
            read += count;
            write += stays;
        }
        write
    }

    /// Mends a whole frame and returns its new length.
    fn mend(&mut self, frame: &mut [u8], head: &Head) -> usize {
        let whole = head.whole;
        let payload = &mut frame[HEAD..whole - 1];
        if head.kind == METHOD {
            // This is connection.tune, in which the server says what it would like.
            if let [0, 10, 0, 30, _, _, a, b, c, d, ..] = *payload {
                self.frame_max = agreed(self.frame_max, u32::from_be_bytes([a, b, c, d]));
            } else if mend::method(payload) {
                self.mended.count();
            }
            return whole;
        }
        let outcome = mend::content_header(payload, self.frame_max - HEAD - 1);
        if outcome.mended {
            self.mended.count();
            let size = u32::try_from(outcome.len).unwrap_or(0);
            frame[3..HEAD].copy_from_slice(&size.to_be_bytes());
            frame[HEAD + outcome.len] = END;
        }
        HEAD + outcome.len + 1
    }
}

/// The size of a frame after the server has said its own. 0 means that the server has no limit, and the size is never
/// less than what every client must accept.
fn agreed(so_far: usize, said: u32) -> usize {
    let said = usize::try_from(said).ok().filter(|said| *said > 0).unwrap_or(usize::MAX);
    so_far.min(said).max(LEAST_FRAME)
}

struct Head {
    kind: u8,
    /// The length of the frame in bytes, from its type to its end.
    whole: usize,
}

impl Head {
    fn of(bytes: &[u8]) -> Option<Self> {
        let [kind, _, _, a, b, c, d, ..] = *bytes else { return None };
        let size = u32::from_be_bytes([a, b, c, d]);
        Some(Self { kind, whole: usize::try_from(size).unwrap_or(usize::MAX).saturating_add(HEAD + 1) })
    }

    fn is_looked_into(&self, frame_max: usize) -> bool {
        [METHOD, HEADER].contains(&self.kind) && self.whole <= frame_max.min(64 * OVER).saturating_add(OVER)
    }

    fn passing(&self) -> u64 {
        match self.kind {
            METHOD | HEADER | BODY | HEARTBEAT => self.whole as u64,
            // This is no frame but a server of another protocol, which lapin will tell.
            _ => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> Frames {
        Frames::new(None, Arc::new(Mended::new(Metrics::default())))
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, 0, 1];
        frame.extend(u32::try_from(payload.len()).expect("small").to_be_bytes());
        frame.extend(payload);
        frame.push(END);
        frame
    }

    fn header(message_id: &[u8], more: &[u8]) -> Vec<u8> {
        let mut payload = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 1 << 7];
        payload.push(u8::try_from(message_id.len()).expect("short"));
        payload.extend(message_id);
        payload.extend(more);
        frame(HEADER, &payload)
    }

    /// What lapin gets where the stream's reads and lapin's buffers have these sizes, over and over.
    fn passed(bytes: &[u8], reads: &[usize], buffers: &[usize]) -> Vec<u8> {
        let mut frames = frames();
        let (mut at, mut out) = (0, Vec::new());
        let (mut reads, mut buffers) = (reads.iter().cycle(), buffers.iter().cycle());
        loop {
            let mut buffer = vec![0; *buffers.next().expect("a size")];
            if let Some(count) = frames.give(&mut buffer) {
                out.extend(&buffer[..count]);
                continue;
            }
            if at == bytes.len() {
                return out;
            }
            let size = *reads.next().expect("a size");
            if let Some(missing) = frames.missing() {
                let count = size.min(missing).min(bytes.len() - at);
                frames.take(&bytes[at..at + count]);
                at += count;
                continue;
            }
            let count = size.min(buffer.len()).min(bytes.len() - at);
            buffer[..count].copy_from_slice(&bytes[at..at + count]);
            at += count;
            let passed = frames.scan(&mut buffer[..count]);
            out.extend(&buffer[..passed]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn frames_come_out_in_order_and_mended_however_they_are_cut(
            kinds in prop::collection::vec((0..5_u8, prop::collection::vec(any::<u8>(), 0..60)), 1..12),
            reads in prop::collection::vec(1..90_usize, 1..8),
            buffers in prop::collection::vec(1..90_usize, 1..8),
        ) {
            let (mut sent, mut wanted) = (Vec::new(), Vec::new());
            for (kind, bytes) in kinds {
                let (as_sent, as_wanted) = match kind {
                    0 => (header(b"a\xffb", &bytes), header(b"a?b", b"")),
                    1 => (header(b"good", b""), header(b"good", b"")),
                    2 => (frame(HEARTBEAT, b""), frame(HEARTBEAT, b"")),
                    3 => (frame(METHOD, &bytes), frame(METHOD, &bytes)),
                    _ => (frame(BODY, &bytes), frame(BODY, &bytes)),
                };
                sent.extend(as_sent);
                wanted.extend(as_wanted);
            }
            prop_assert_eq!(passed(&sent, &reads, &buffers), wanted);
        }
    }

    #[test]
    fn what_is_no_frame_passes_as_it_is() {
        assert_eq!(passed(b"AMQP\0\0\x09\x01", &[3], &[5]), b"AMQP\0\0\x09\x01");
        assert_eq!(
            passed(b"HTTP/1.1 400 Bad Request\r\n\r\n", &[2], &[9]),
            b"HTTP/1.1 400 Bad Request\r\n\r\n"
        );
    }

    #[test]
    fn the_size_that_the_server_tells_is_kept_to() {
        let mut frames = frames();
        let mut tune = frame(METHOD, b"\0\x0a\0\x1e\x07\xff\0\0\x20\0\0\x0a");
        assert_eq!(frames.scan(&mut tune), tune.len());
        assert_eq!(frames.frame_max, 8192);
        let mut table = vec![1, b'a', b'S'];
        table.extend(8_100_u32.to_be_bytes());
        table.extend([b'x'; 8_100]);
        let mut payload = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 1 << 5, 0];
        payload.extend(u32::try_from(table.len()).expect("small").to_be_bytes());
        payload.extend(table);
        let mut large = frame(HEADER, &payload);
        let length = frames.scan(&mut large);
        assert_eq!(length, large.len(), "it fits");
        payload.extend([0; 100]);
        payload[12] |= 1 << 4;
        let mut larger = frame(HEADER, &payload);
        let length = frames.scan(&mut larger);
        assert!(length < 8192);
        assert_eq!(larger[length - 1], END);
    }
}
