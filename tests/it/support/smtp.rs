//! A mail server that keeps what it gets (RFC 5321), on loopback.

use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{TestSettings, eventually};

/// A letter that has arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub to: String,
    pub subject: String,
    pub text: String,
}

impl Received {
    /// The token at the end of its link.
    pub fn token(&self) -> String {
        let (_, rest) = self.text.split_once("?token=").unwrap_or_else(|| panic!("{}", self.text));
        rest.split_whitespace().next().unwrap().to_owned()
    }
}

/// The server.
#[derive(Clone)]
pub struct MailServer {
    letters: Arc<Mutex<Vec<Received>>>,
    /// So many times it says that it cannot take a letter now.
    refusals: Arc<Mutex<u32>>,
    port: u16,
}

impl MailServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { letters: Arc::default(), refusals: Arc::default(), port };
        let own = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                tokio::spawn(async move {
                    let _ = own.talk(stream).await;
                });
            }
        });
        server
    }

    /// Settings of an application that sends its letters here.
    pub fn used(&self) -> TestSettings {
        let url = format!("smtp://127.0.0.1:{}", self.port);
        Box::new(move |settings| {
            settings.smtp.url = Some(SecretString::from(url));
            settings.smtp.from = Some("Narthex <narthex@example.org>".to_owned());
            settings.http.public_url = Some("http://127.0.0.1:1".parse().unwrap());
        })
    }

    pub fn refuse(&self, times: u32) {
        *self.refusals.lock().unwrap() = times;
    }

    /// All that have come to an address, the first first.
    pub fn letters_to(&self, address: &str) -> Vec<Received> {
        let letters = self.letters.lock().unwrap();
        letters.iter().filter(|letter| letter.to == address).cloned().collect()
    }

    /// The last of so many letters to an address, once they have come.
    pub async fn letter(&self, address: &str, count: usize) -> Received {
        eventually("a letter has come", async || self.letters_to(address).len() >= count).await;
        let mut letters = self.letters_to(address);
        assert_eq!(letters.len(), count, "{letters:?}");
        letters.pop().unwrap()
    }

    async fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 mail.example.org\r\n").await?;
        let mut to = String::new();
        while let Some(line) = lines.next_line().await? {
            let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            let reply = match verb.as_str() {
                "EHLO" => "250 mail.example.org",
                "RCPT" => {
                    line.split_once('<').unwrap().1.trim_end_matches('>').clone_into(&mut to);
                    "250 OK"
                }
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await?;
                    let mut data = Vec::new();
                    while let Some(line) = lines.next_line().await? {
                        if line == "." {
                            break;
                        }
                        data.push(line);
                    }
                    if self.is_refused() {
                        "451 not now"
                    } else {
                        self.keep(&to, &data);
                        "250 kept"
                    }
                }
                "QUIT" => {
                    write.write_all(b"221 bye\r\n").await?;
                    break;
                }
                _ => "250 OK",
            };
            write.write_all(format!("{reply}\r\n").as_bytes()).await?;
        }
        Ok(())
    }

    fn is_refused(&self) -> bool {
        let mut left = self.refusals.lock().unwrap();
        let is_refused = *left > 0;
        *left = left.saturating_sub(1);
        is_refused
    }

    fn keep(&self, to: &str, data: &[String]) {
        // A long header goes on in lines that begin with a space (RFC 5322, section 2.2.3).
        let header = |name: &str| {
            let mut lines = data.iter().skip_while(|line| !line.starts_with(name));
            let mut value =
                lines.next().map(|line| line[name.len()..].to_owned()).unwrap_or_default();
            lines.take_while(|line| line.starts_with(' ')).for_each(|line| value.push_str(line));
            value.trim().to_owned()
        };
        let is_quoted = header("Content-Transfer-Encoding:") == "quoted-printable";
        let body = data.split(String::is_empty).skip(1).map(|lines| lines.join("\n"));
        let mut text = body.collect::<Vec<_>>().join("\n\n");
        if is_quoted {
            text = text.replace("=\n", "").replace("=3D", "=");
        }
        let letter = Received { to: to.to_owned(), subject: header("Subject:"), text };
        self.letters.lock().unwrap().push(letter);
    }
}
