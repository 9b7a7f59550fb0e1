//! A publisher that writes AMQP's frames itself, so that any bytes can stand in any property and header.
//!
//! It is blocking and does only what its tests need: one channel, confirms, one message at a time.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use lapin::uri::AMQPUri;

/// Bytes of a frame, as this client negotiates them.
const FRAME_MAX: usize = 131_072;

/// The properties of a message, each as the bytes that stand for it on the wire.
#[derive(Debug, Clone, Default)]
pub struct Properties {
    /// By the bit that announces the property, which is also their order on the wire.
    fields: std::collections::BTreeMap<std::cmp::Reverse<u16>, Vec<u8>>,
}

/// A property that is a short string, by the bit that announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortProperty(u16);

pub const CONTENT_TYPE: ShortProperty = ShortProperty(1 << 15);
pub const CONTENT_ENCODING: ShortProperty = ShortProperty(1 << 14);
pub const CORRELATION_ID: ShortProperty = ShortProperty(1 << 10);
pub const REPLY_TO: ShortProperty = ShortProperty(1 << 9);
pub const EXPIRATION: ShortProperty = ShortProperty(1 << 8);
pub const MESSAGE_ID: ShortProperty = ShortProperty(1 << 7);
pub const TYPE: ShortProperty = ShortProperty(1 << 5);
/// RabbitMQ closes the channel unless it is the connection's own user.
pub const USER_ID: ShortProperty = ShortProperty(1 << 4);
pub const APP_ID: ShortProperty = ShortProperty(1 << 3);
pub const CLUSTER_ID: ShortProperty = ShortProperty(1 << 2);

/// Those that RabbitMQ passes on whatever their bytes are.
pub const FREE_TEXTS: [ShortProperty; 8] =
    [CONTENT_TYPE, CONTENT_ENCODING, CORRELATION_ID, REPLY_TO, MESSAGE_ID, TYPE, APP_ID, CLUSTER_ID];

impl Properties {
    /// Persistent, and nothing else.
    pub fn persistent() -> Self {
        Self::default().raw(1 << 12, vec![2])
    }

    /// A property by its bit, with its bytes as they are.
    pub fn raw(mut self, bit: u16, bytes: Vec<u8>) -> Self {
        self.fields.insert(std::cmp::Reverse(bit), bytes);
        self
    }

    pub fn short(self, property: ShortProperty, text: &[u8]) -> Self {
        self.raw(property.0, short(text))
    }

    pub fn headers(self, table: &Table) -> Self {
        self.raw(1 << 13, table.encoded())
    }

    pub fn priority(self, value: u8) -> Self {
        self.raw(1 << 11, vec![value])
    }

    pub fn timestamp(self, seconds: u64) -> Self {
        self.raw(1 << 6, seconds.to_be_bytes().to_vec())
    }

    /// Milliseconds after which RabbitMQ takes the message for dead.
    pub fn expiration(self, ms: u32) -> Self {
        self.short(EXPIRATION, ms.to_string().as_bytes())
    }

    fn encoded(&self) -> Vec<u8> {
        let flags = self.fields.keys().fold(0, |flags, bit| flags | bit.0);
        let mut bytes = u16::to_be_bytes(flags).to_vec();
        self.fields.values().for_each(|field| bytes.extend(field));
        bytes
    }
}

/// A field table, entry by entry as bytes.
#[derive(Debug, Clone, Default)]
pub struct Table(Vec<u8>);

impl Table {
    /// An entry whose value is `kind` (AMQP's letter for its type) and these bytes.
    pub fn raw(mut self, name: &[u8], kind: u8, value: &[u8]) -> Self {
        self.0.extend(short(name));
        self.0.push(kind);
        self.0.extend(value);
        self
    }

    pub fn text(self, name: &str, value: &str) -> Self {
        self.raw(name.as_bytes(), b'S', &long(value.as_bytes()))
    }

    pub fn table(self, name: &[u8], inner: &Self) -> Self {
        self.raw(name, b'F', &inner.encoded())
    }

    /// An array of values, each with its letter.
    pub fn array(self, name: &[u8], values: &[(u8, Vec<u8>)]) -> Self {
        let mut bytes = Vec::new();
        for (kind, value) in values {
            bytes.push(*kind);
            bytes.extend(value);
        }
        self.raw(name, b'A', &long(&bytes))
    }

    /// This table's entries, and behind them those of another.
    pub fn with(mut self, other: &Self) -> Self {
        self.0.extend(&other.0);
        self
    }

    /// The table with its length before it.
    pub fn encoded(&self) -> Vec<u8> {
        long(&self.0)
    }
}

/// A short string: its length is one byte.
pub fn short(text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len()).expect("at most 255 bytes")];
    bytes.extend(text);
    bytes
}

/// A long string, or any other bytes with their length in four before them.
pub fn long(text: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).expect("it fits").to_be_bytes().to_vec();
    bytes.extend(text);
    bytes
}

/// What RabbitMQ made of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Taken,
    /// A negative confirm.
    NotTaken,
    /// The channel or the connection was closed, with its code.
    Closed(u16, String),
}

/// A connection with one channel in confirm mode.
pub struct RawPublisher {
    stream: TcpStream,
}

type Frame = (u8, u16, Vec<u8>);

impl RawPublisher {
    /// Connects as the user of the URL.
    pub fn connect(url: &str) -> Self {
        Self::try_connect(url).expect("RabbitMQ answers")
    }

    /// The same where the server may be away.
    pub fn try_connect(url: &str) -> io::Result<Self> {
        let uri: AMQPUri = url.parse().expect("an AMQP URL");
        let stream = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        let mut this = Self { stream };
        this.stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        this.expect(0, 10, 10)?;
        let login = format!("\0{}\0{}", uri.authority.userinfo.username, uri.authority.userinfo.password);
        let mut start_ok = Table::default().encoded();
        start_ok.extend(short(b"PLAIN"));
        start_ok.extend(long(login.as_bytes()));
        start_ok.extend(short(b"en_US"));
        this.method(0, 10, 11, &start_ok)?;
        this.expect(0, 10, 30)?;
        let mut tune_ok = 8_u16.to_be_bytes().to_vec();
        tune_ok.extend(u32::try_from(FRAME_MAX).expect("small").to_be_bytes());
        tune_ok.extend(0_u16.to_be_bytes());
        this.method(0, 10, 31, &tune_ok)?;
        let mut open = short(uri.vhost.as_bytes());
        open.extend([0, 0]);
        this.method(0, 10, 40, &open)?;
        this.expect(0, 10, 41)?;
        this.method(1, 20, 10, &[0])?;
        this.expect(1, 20, 11)?;
        this.method(1, 85, 10, &[0])?;
        this.expect(1, 85, 11)?;
        Ok(this)
    }

    /// Publishes a message and waits for RabbitMQ's answer.
    pub fn publish(
        &mut self,
        exchange: &str,
        key: impl AsRef<[u8]>,
        properties: &Properties,
        body: &[u8],
    ) -> Answer {
        self.try_publish(exchange, key, properties, body).expect("RabbitMQ answers")
    }

    /// The same where the server may go away. After an error nobody knows whether the message was taken.
    pub fn try_publish(
        &mut self,
        exchange: &str,
        key: impl AsRef<[u8]>,
        properties: &Properties,
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut publish = vec![0, 0];
        publish.extend(short(exchange.as_bytes()));
        publish.extend(short(key.as_ref()));
        publish.push(0);
        self.method(1, 60, 40, &publish)?;
        let mut header = 60_u16.to_be_bytes().to_vec();
        header.extend([0, 0]);
        header.extend((body.len() as u64).to_be_bytes());
        header.extend(properties.encoded());
        self.frame(2, 1, &header)?;
        for part in body.chunks(FRAME_MAX - 8) {
            self.frame(3, 1, part)?;
        }
        loop {
            let (kind, _, payload) = self.read()?;
            if kind != 1 {
                continue;
            }
            match (number(&payload, 0), number(&payload, 2)) {
                (60, 80) => return Ok(Answer::Taken),
                (60, 120) => return Ok(Answer::NotTaken),
                (10, 50) | (20, 40) => {
                    let length = usize::from(payload[6]);
                    let text = String::from_utf8_lossy(&payload[7..7 + length]).into_owned();
                    return Ok(Answer::Closed(number(&payload, 4), text));
                }
                _ => {}
            }
        }
    }

    fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) -> io::Result<()> {
        let mut payload = class.to_be_bytes().to_vec();
        payload.extend(method.to_be_bytes());
        payload.extend(arguments);
        self.frame(1, channel, &payload)
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) -> io::Result<()> {
        let mut bytes = vec![kind];
        bytes.extend(channel.to_be_bytes());
        bytes.extend(long(payload));
        bytes.push(0xCE);
        self.stream.write_all(&bytes)
    }

    fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        let mut payload = vec![0; length + 1];
        self.stream.read_exact(&mut payload)?;
        assert_eq!(payload.pop(), Some(0xCE), "a frame's end");
        Ok((head[0], number(&head, 1), payload))
    }

    fn expect(&mut self, channel: u16, class: u16, method: u16) -> io::Result<()> {
        let (kind, on, payload) = self.read()?;
        let found = (kind, on, number(&payload, 0), number(&payload, 2));
        if found == (1, channel, class, method) {
            return Ok(());
        }
        Err(io::Error::other(format!("{found:?}: {}", String::from_utf8_lossy(&payload))))
    }
}

fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
