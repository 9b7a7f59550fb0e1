//! Reads a file of JSON Lines, one line at a time, so that the file is never in memory as a whole.

use std::io::{BufRead, Read as _};

use zeroize::Zeroize as _;

use crate::contract::decode_import_line;
use crate::domain::import::ImportLine;
use crate::store::people::import::kinds::{ImportError, Numbered};

/// The longest line that is read, in bytes. A group of about a million members fits.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// An iterator over the lines of a file. After an error, the rest of the file must not be read.
pub(in crate::store) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(in crate::store) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), number: 0 }
    }

    /// Reads the next line into the buffer. False at the end of the file.
    fn read(&mut self) -> Result<bool, ImportError> {
        self.number += 1;
        let line = self.number;
        let read = (&mut self.reader).take(MAX_LINE + 1).read_until(b'\n', &mut self.buffer);
        match read {
            Ok(0) => Ok(false),
            Ok(bytes) if bytes as u64 > MAX_LINE => {
                Err(ImportError::line(line, format!("is longer than {MAX_LINE} bytes")))
            }
            Ok(_) => Ok(true),
            Err(error) => Err(ImportError::Read { line, error }),
        }
    }

    /// Decodes the line in the buffer. `None` if it is blank.
    fn decode(&self) -> Option<Result<ImportLine, ImportError>> {
        // A file may begin with a byte order mark. It is allowed on each line, since `cat` may have joined several
        // files.
        let marked = self.buffer.trim_ascii();
        let bytes = marked.strip_prefix(b"\xef\xbb\xbf").unwrap_or(marked).trim_ascii();
        if bytes.is_empty() {
            return None;
        }
        let decoded = match std::str::from_utf8(bytes) {
            Ok(text) => decode_import_line(text).map_err(|error| error.to_string()),
            Err(_) => Err("the line is not UTF-8".to_owned()),
        };
        Some(decoded.map_err(|problem| ImportError::line(self.number, problem)))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Numbered;

    fn next(&mut self) -> Option<Numbered> {
        loop {
            match self.read() {
                Ok(false) => return None,
                Ok(true) => {}
                Err(error) => return Some(Err(error)),
            }
            let decoded = self.decode();
            // The line may have a client secret in plain text, so the part of the buffer that it used is overwritten.
            self.buffer.as_mut_slice().zeroize();
            self.buffer.clear();
            if let Some(decoded) = decoded {
                return Some(decoded.map(|line| (self.number, line)));
            }
        }
    }
}
