//! A server of which every byte is scripted, on plain sockets and threads: no HTTP library to be too polite.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::reply::{End, Reply};

/// A request, as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: String,
    /// Path and query, byte for byte.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    /// How many requests for the same path came before.
    pub(crate) nth: usize,
}

impl Ask {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Returns the first byte that is asked for, and the last one.
    pub(crate) fn range(&self) -> Option<(usize, Option<usize>)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()))
    }

    pub(crate) fn starts_at(&self) -> usize {
        self.range().map_or(0, |(first, _)| first)
    }
}

/// Answers requests.
pub(crate) type Script = Arc<dyn Fn(&Ask) -> Reply + Send + Sync>;

/// How a connection is made secure; `None` from it means that the handshake failed.
pub(crate) type Secure = Arc<dyn Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync>;

/// Both directions of a connection.
pub(crate) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A scripted server on a free port; ends with its value.
pub(crate) struct Host {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Ask>>>,
    hung_up: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Host {
    pub(crate) fn start(script: Script) -> Self {
        Self::start_with(script, None)
    }

    pub(crate) fn start_with(script: Script, secure: Option<Secure>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (log, hung_up) = (Arc::default(), Arc::<AtomicUsize>::default());
        let over = Arc::<AtomicBool>::default();
        let (counted, ended) = (hung_up.clone(), over.clone());
        let served = Served { script, secure, log: Arc::clone(&log), hung_up: counted, over: ended };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if served.over.load(Ordering::Relaxed) {
                    return;
                }
                let served = served.clone();
                std::thread::spawn(move || drop(stream.map(|stream| served.serve(stream))));
            }
        });
        Self { address, log, hung_up, over }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns how many held connections the client has ended.
    pub(crate) fn hung_up(&self) -> usize {
        self.hung_up.load(Ordering::Relaxed)
    }

    /// Returns every request so far.
    pub(crate) fn asks(&self) -> Vec<Ask> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // The listener wakes up, sees that it is over, and ends.
        drop(TcpStream::connect(self.address));
    }
}

#[derive(Clone)]
struct Served {
    script: Script,
    secure: Option<Secure>,
    log: Arc<Mutex<Vec<Ask>>>,
    hung_up: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Served {
    fn serve(&self, raw: TcpStream) -> std::io::Result<()> {
        raw.set_nodelay(true)?;
        // No thread waits for ever for a client that is gone.
        raw.set_write_timeout(Some(Duration::from_secs(20)))?;
        let handle = raw.try_clone()?;
        let stream: Box<dyn Stream> = match &self.secure {
            Some(secure) => match secure(raw) {
                Some(stream) => stream,
                None => return Ok(()),
            },
            None => Box::new(raw),
        };
        let mut stream = BufReader::new(stream);
        while let Some(ask) = self.read(&mut stream)? {
            let reply = (self.script)(&ask);
            let out = stream.get_mut();
            out.write_all(&reply.head_bytes())?;
            let (pieces, pause) = reply.body_pieces();
            for piece in pieces {
                out.write_all(&piece)?;
                out.flush()?;
                if !pause.is_zero() {
                    std::thread::sleep(pause);
                }
            }
            match &reply.end {
                End::Keep => {}
                End::Close => return Ok(()),
                End::Reset => {
                    socket2::SockRef::from(&handle).set_linger(Some(Duration::ZERO))?;
                    return Ok(());
                }
                End::Hold => return self.hold(&handle),
                End::Endless(bytes) => {
                    while !self.over.load(Ordering::Relaxed) {
                        out.write_all(bytes)?;
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn hold(&self, handle: &TcpStream) -> std::io::Result<()> {
        handle.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut byte = [0];
        while !self.over.load(Ordering::Relaxed) {
            // The client hung up; a time-out is an error and means that it has not.
            if let Ok(0) = handle.peek(&mut byte) {
                self.hung_up.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        Ok(())
    }

    fn read(&self, stream: &mut BufReader<Box<dyn Stream>>) -> std::io::Result<Option<Ask>> {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
                None => break,
            }
        }
        let mut ask = Ask { method, target, headers, nth: 0 };
        let length = ask.header("content-length").and_then(|digits| digits.parse().ok()).unwrap_or(0_u64);
        std::io::copy(&mut stream.take(length), &mut std::io::sink())?;
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        ask.nth = log.iter().filter(|before| before.path() == ask.path()).count();
        log.push(ask.clone());
        Ok(Some(ask))
    }
}
