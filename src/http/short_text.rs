//! A short text, written without the general formatter and without an allocation.

/// At most `N` bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShortText<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Default for ShortText<N> {
    fn default() -> Self {
        Self { bytes: [0; N], length: 0 }
    }
}

impl<const N: usize> ShortText<N> {
    /// The text written so far.
    pub fn as_str(&self) -> &str {
        // Only whole texts and digits are written, so this is UTF-8.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The bytes written so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Appends a text. `None`: the text does not fit, and nothing was written.
    pub fn push(&mut self, text: &str) -> Option<()> {
        let room = self.bytes[self.length..].get_mut(..text.len())?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Some(())
    }

    /// Appends a number in decimal.
    pub fn push_number(&mut self, number: u32) -> Option<()> {
        let count = number.checked_ilog10().unwrap_or(0) as usize + 1;
        self.push_digits(number, count)
    }

    /// Appends the last `count` digits of a number, leading zeros included.
    pub fn push_digits(&mut self, mut number: u32, count: usize) -> Option<()> {
        for digit in self.bytes[self.length..].get_mut(..count)?.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.length += count;
        Some(())
    }
}
