//! Somebody on the way to a server who can fall silent, as a cut cable does: nothing is said and nothing is closed.

use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Passes everything on to a port of this machine, until told not to. Ends when dropped.
pub struct Proxy {
    pub port: u16,
    silent: watch::Sender<bool>,
    passing: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let silent = watch::Sender::new(false);
        let news = silent.clone();
        let passing = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut silent = news.subscribe();
                connections.spawn(async move {
                    let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                    let falls_silent = async { silent.wait_for(|silent| *silent).await.map(drop) };
                    tokio::select! {
                        biased;
                        _ = falls_silent => std::future::pending().await,
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        Self { port: own_port, silent, passing }
    }

    /// From now on nothing passes. Connections that are open now stay silent for ever.
    pub fn fall_silent(&self) {
        self.silent.send_replace(true);
    }

    /// New connections pass again.
    pub fn speak_again(&self) {
        self.silent.send_replace(false);
    }
}
