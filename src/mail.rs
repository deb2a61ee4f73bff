//! Emails, sent by SMTP in the background: the response to a request does not show how long sending
//! takes, or whether an email is sent at all.

use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::{AsyncTransport, Message, Tokio1Executor};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::configuration::{PublicUrl, SmtpSettings, is_this_machine};
use crate::identifiers::EmailAddress;
use crate::lifecycle::Lifecycle;
use crate::plain_text::is_control;

/// Maximum number of emails that are being sent at once. Further emails are dropped, and users have
/// to request them again.
const UNDER_WAY: usize = 200;
/// Time limit of one attempt.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Pauses between attempts. An email that a server refuses permanently is not tried again.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];
/// Value of `smtp.url` that writes emails to the log, where `narthex dev` shows them.
const LOG: &str = "log:";

/// Reason why emails cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// `smtp.url` is not the URL of a mail server with TLS.
    #[error(
        "smtp.url must be smtps://user:password@host:465 or smtp://host:587?tls=required (without TLS to this machine \
         alone)"
    )]
    BadUrl,
    /// `smtp.from` is not a valid sender address.
    #[error("smtp.from must be an address such as `Church office <office@example.org>`")]
    BadFrom,
    /// `smtp.url` is set and `smtp.from` is not.
    #[error("smtp.from is not set: who are letters from?")]
    NoFrom,
}

/// An email to one recipient.
#[derive(Clone, Debug)]
pub struct Email {
    /// Address of the recipient.
    pub to: EmailAddress,
    /// Subject, in one line.
    pub subject: String,
    /// Plain text. Text from other users may appear only as [`quoted`](crate::plain_text::quoted).
    pub text: String,
}

struct SmtpServer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

enum Post {
    Smtp(Box<SmtpServer>),
    Log,
    /// No mail server is configured.
    Nowhere,
}

/// Sends emails. Clones share the limit.
#[derive(Clone)]
pub struct Mailer {
    post: Arc<Post>,
    public_url: Option<PublicUrl>,
    under_way: Arc<Semaphore>,
    life: Lifecycle,
}

impl Mailer {
    /// Creates a mailer for the configured server. It does not connect yet.
    pub fn new(
        settings: &SmtpSettings,
        public_url: Option<PublicUrl>,
        life: Lifecycle,
    ) -> Result<Self, MailError> {
        let post = match &settings.url {
            None => Post::Nowhere,
            Some(url) if url.expose_secret() == LOG => Post::Log,
            Some(url) => {
                let from = settings.from.as_deref().ok_or(MailError::NoFrom)?;
                Post::Smtp(Box::new(SmtpServer {
                    transport: transport(url)?,
                    from: from.parse().map_err(|_| MailError::BadFrom)?,
                }))
            }
        };
        let under_way = Arc::new(Semaphore::new(UNDER_WAY));
        Ok(Self { post: Arc::new(post), public_url, under_way, life })
    }

    /// The URL that makes `narthex dev` show emails in its log.
    pub fn log_url() -> SecretString {
        SecretString::from(LOG)
    }

    /// True if emails are written to the log. A reader of the log could then take over accounts.
    pub fn writes_into_log(settings: &SmtpSettings) -> bool {
        settings.url.as_ref().is_some_and(|url| url.expose_secret() == LOG)
    }

    /// True if emails can be sent.
    pub fn is_configured(&self) -> bool {
        !matches!(*self.post, Post::Nowhere)
    }

    /// The link in an email: a page of the application that takes the token. Without
    /// `http.public_url` it is the token itself.
    pub fn link(&self, page: &str, token: &str) -> String {
        match &self.public_url {
            Some(url) => url.at(&format!("{page}?token={token}")),
            None => token.to_owned(),
        }
    }

    /// Sends an email in the background, with up to three retries. It is dropped if too many emails
    /// are being sent.
    pub fn send(&self, email: Email) {
        let Ok(place) = self.under_way.clone().try_acquire_owned() else {
            tracing::error!("too many letters are under way; one is not sent");
            return;
        };
        let post = self.post.clone();
        self.life.spawn_work(async move {
            let _place = place;
            match &*post {
                Post::Nowhere => tracing::error!("smtp.url is not set: a letter is not sent"),
                // A log level that `narthex dev` shows.
                Post::Log => tracing::warn!(
                    to = email.to.as_str(),
                    subject = email.subject,
                    "a letter, instead of being sent:\n\n{}",
                    email.text
                ),
                Post::Smtp(server) => deliver(server, &email).await,
            }
        });
    }
}

fn transport(url: &SecretString) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
    let text = url.expose_secret();
    let parsed = Url::parse(text).map_err(|_| MailError::BadUrl)?;
    let demands_tls =
        parsed.query_pairs().any(|(name, value)| name == "tls" && value == "required");
    let is_private = match parsed.scheme() {
        "smtps" => true,
        "smtp" => demands_tls || is_this_machine(&parsed),
        _ => false,
    };
    if !is_private {
        return Err(MailError::BadUrl);
    }
    let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(text);
    Ok(builder.map_err(|_| MailError::BadUrl)?.timeout(Some(TIMEOUT)).build())
}

async fn deliver(SmtpServer { transport, from }: &SmtpServer, email: &Email) {
    let Ok(to) = email.to.as_str().parse() else {
        tracing::error!("an address cannot be written to");
        return;
    };
    let message = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(email.subject.replace(is_control, " "))
        .body(email.text.clone());
    let message = match message {
        Ok(message) => message,
        Err(error) => return tracing::error!(%error, "a letter could not be written"),
    };
    let mut pauses = PAUSES.into_iter();
    loop {
        let Err(error) = transport.send(message.clone()).await else { return };
        match pauses.next().filter(|_| !error.is_permanent()) {
            Some(pause) => {
                tracing::warn!(%error, "a letter was not taken; trying again");
                tokio::time::sleep(pause).await;
            }
            None => return tracing::error!(%error, "a letter could not be sent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("smtps://user:password@mail.example.org", true)]
    #[case("smtps://user:password@mail.example.org:465", true)]
    #[case("smtp://user:password@mail.example.org:587?tls=required", true)]
    #[case("smtp://127.0.0.1:1025", true)]
    #[case("smtp://localhost:1025", true)]
    #[case("smtp://mail.example.org:587", false)]
    #[case("smtp://mail.example.org:587?tls=opportunistic", false)]
    #[case("http://mail.example.org", false)]
    #[case("mail.example.org", false)]
    #[tokio::test]
    async fn letters_go_over_tls_or_not_at_all(#[case] url: &str, #[case] is_taken: bool) {
        let settings = SmtpSettings {
            url: Some(SecretString::from(url)),
            from: Some("office@example.org".to_owned()),
        };
        let mailer = Mailer::new(&settings, None, Lifecycle::new());
        assert_eq!(mailer.is_ok(), is_taken, "{:?}", mailer.err());
    }

    #[tokio::test]
    async fn a_server_needs_a_sender() {
        let url = Some(SecretString::from("smtp://127.0.0.1:1025"));
        for from in [None, Some(""), Some("nobody")] {
            let from = from.map(str::to_owned);
            let settings = SmtpSettings { url: url.clone(), from };
            assert!(Mailer::new(&settings, None, Lifecycle::new()).is_err());
        }
    }
}
