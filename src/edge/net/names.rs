//! Host names: asked for apart from the connection, for as long as a slow name server needs, and remembered for a while.
//!
//! The system's own look-up has no time-out and no memory. It runs on a thread that nothing waits for, so that an answer which
//! comes too late for one request serves the next.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Request, Response};
use tokio::sync::watch;
use tokio::time::Instant;
use url::Host;

use crate::edge::net::wire::Wire;

/// How long an answer is used. Hosts of files change their addresses within minutes, and their answers are valid
/// for a minute; an address that does not answer is forgotten at once.
const REMEMBERED: Duration = Duration::from_secs(60);

type Found = Result<Arc<[IpAddr]>, NameFault>;

/// Where the answer to a question will be.
type Answer = watch::Receiver<Option<Found>>;

type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The host names that were asked for lately.
pub(crate) struct Names {
    look_up: Arc<LookUp>,
    patience: Duration,
    known: Arc<Mutex<HashMap<Box<str>, Known>>>,
}

/// What is known of one name.
enum Known {
    /// The question is on its way.
    Asked {
        since: Instant,
        answer: Answer,
    },
    Resolved {
        at: Instant,
        addresses: Arc<[IpAddr]>,
    },
}

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameFault {
    /// The name server did not answer in time.
    #[error("the host name was not resolved within {} s", .0.as_secs_f64())]
    Slow(Duration),
    /// It answered that there is none, or could not be asked.
    #[error("could not resolve the host name ({0})")]
    Failed(Arc<str>),
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Names {
    /// Asks the system, and waits for so long at most.
    pub(crate) fn new(patience: Duration) -> Arc<Self> {
        Self::asking(Arc::new(system), patience)
    }

    fn asking(look_up: Arc<LookUp>, patience: Duration) -> Arc<Self> {
        Arc::new(Self { look_up, patience, known: Arc::default() })
    }

    pub(crate) async fn addresses(&self, name: &str) -> Found {
        let (since, mut answer) = match self.ask(name) {
            Ok(addresses) => return Ok(addresses),
            Err(asked) => asked,
        };
        let answered = answer.wait_for(Option::is_some);
        match tokio::time::timeout_at(since + self.patience, answered).await {
            Ok(Ok(found)) => (*found).clone().unwrap_or_else(|| Err(NameFault::Failed("no answer".into()))),
            Ok(Err(_)) => Err(NameFault::Failed("the look-up was lost".into())),
            Err(_) => Err(NameFault::Slow(self.patience)),
        }
    }

    /// Forgets the answer for a name that leads nowhere.
    pub(crate) fn forget(&self, name: &str) {
        let mut known = locked(&self.known);
        if matches!(known.get(name), Some(Known::Resolved { .. })) {
            known.remove(name);
        }
    }

    /// Returns what is known, or the question that is under way.
    fn ask(&self, name: &str) -> Result<Arc<[IpAddr]>, (Instant, Answer)> {
        let mut known = locked(&self.known);
        match known.get(name) {
            Some(Known::Resolved { at, addresses }) if at.elapsed() < REMEMBERED => {
                return Ok(addresses.clone());
            }
            Some(Known::Asked { since, answer }) => return Err((*since, answer.clone())),
            _ => {}
        }
        let (tell, answer) = watch::channel(None);
        let since = Instant::now();
        known.insert(name.into(), Known::Asked { since, answer: answer.clone() });
        drop(known);
        let question =
            Question { look_up: self.look_up.clone(), name: name.into(), known: self.known.clone(), tell };
        let question = Arc::new(question);
        let on_thread = question.clone();
        let thread = std::thread::Builder::new().name("rcsync-names".to_owned());
        if thread.spawn(move || on_thread.ask()).is_err() {
            // Without a thread to be had everything waits, which is better than nothing.
            question.ask();
        }
        Err((since, answer))
    }
}

/// A question to the name server.
struct Question {
    look_up: Arc<LookUp>,
    name: Box<str>,
    known: Arc<Mutex<HashMap<Box<str>, Known>>>,
    tell: watch::Sender<Option<Found>>,
}

impl Question {
    /// Asks, which may take minutes, and remembers the answer. A failure is for those who wait, and is not remembered.
    fn ask(&self) {
        let found = match (self.look_up)(&self.name) {
            Ok(addresses) => Ok(Arc::from(addresses)),
            Err(error) => Err(NameFault::Failed(error.to_string().into())),
        };
        let mut known = locked(&self.known);
        match &found {
            Ok(addresses) => {
                let resolved = Known::Resolved { at: Instant::now(), addresses: Arc::clone(addresses) };
                known.insert(self.name.clone(), resolved);
            }
            Err(_) => {
                known.remove(&self.name);
            }
        }
        drop(known);
        self.tell.send_replace(Some(found));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn system(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// Resolves names for the HTTP library, any address.
#[derive(Debug)]
pub(crate) struct Resolver(pub(crate) Arc<Names>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.0.clone();
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await.map_err(boxed)?;
            Ok(Box::new(dialled(&found).into_iter()) as Addrs)
        })
    }
}

/// Returns addresses as the HTTP library wants them: it puts the port in.
pub(crate) fn dialled(addresses: &[IpAddr]) -> Vec<SocketAddr> {
    addresses.iter().map(|address| SocketAddr::new(*address, 0)).collect()
}

pub(crate) fn boxed(fault: impl StdError + Send + Sync + 'static) -> Box<dyn StdError + Send + Sync> {
    Box::new(fault)
}

/// Sends requests over real connections. The name is resolved before the library's time for a connection begins.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) client: reqwest::Client,
    pub(crate) names: Arc<Names>,
    /// Whether requests may go through a proxy, which resolves the names itself.
    pub(crate) may_use_proxy: bool,
}

impl Wire for Dialled {
    fn carry(&self, request: Request) -> BoxFuture<'_, reqwest::Result<Response>> {
        Box::pin(async move {
            let name = match request.url().host() {
                Some(Host::Domain(name)) => Some(name.to_owned()),
                _ => None,
            };
            if let Some(name) = name.as_deref().filter(|_| !self.may_use_proxy) {
                // The library asks again and gets the same answer at once; its error names what is wrong.
                let _ = self.names.addresses(name).await;
            }
            let sent = self.client.execute(request).await;
            if let (Some(name), Err(error)) = (name, &sent)
                && error.is_connect()
            {
                self.names.forget(&name);
            }
            sent
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn address(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }

    /// Answers each question with the next thing that is sent; counts the questions.
    fn scripted() -> (Arc<Names>, mpsc::Sender<io::Result<Vec<IpAddr>>>, Arc<AtomicUsize>) {
        let (send, answers) = mpsc::channel();
        let (answers, asked) = (Mutex::new(answers), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        let look_up = move |_: &str| {
            count.fetch_add(1, Ordering::SeqCst);
            locked(&answers).recv().unwrap_or_else(|_| Err(io::ErrorKind::NotFound.into()))
        };
        (Names::asking(Arc::new(look_up), PATIENCE), send, asked)
    }

    #[tokio::test]
    async fn an_answer_is_asked_for_once_and_remembered_until_it_leads_nowhere() {
        let (names, send, asked) = scripted();
        send.send(Ok(vec![address(1)])).unwrap();
        let (one, other) = tokio::join!(names.addresses("h"), names.addresses("h"));
        assert_eq!((one.unwrap()[0], other.unwrap()[0]), (address(1), address(1)));
        assert_eq!(names.addresses("h").await.unwrap()[0], address(1));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        names.forget("h");
        send.send(Ok(vec![address(2)])).unwrap();
        assert_eq!(names.addresses("h").await.unwrap()[0], address(2));
        tokio::time::pause();
        tokio::time::advance(REMEMBERED).await;
        tokio::time::resume();
        send.send(Ok(vec![address(3)])).unwrap();
        assert_eq!(names.addresses("h").await.unwrap()[0], address(3), "an old answer is asked for again");
    }

    #[tokio::test]
    async fn a_failure_is_not_remembered() {
        let (names, send, _) = scripted();
        send.send(Err(io::ErrorKind::NotFound.into())).unwrap();
        let fault = names.addresses("h").await.unwrap_err();
        assert!(fault.to_string().starts_with("could not resolve the host name ("), "{fault}");
        send.send(Ok(vec![address(1)])).unwrap();
        assert!(names.addresses("h").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_name_server_is_waited_for_and_its_late_answer_is_used() {
        let (names, send, asked) = scripted();
        let began = Instant::now();
        let fault = names.addresses("h").await.unwrap_err();
        assert_eq!(fault.to_string(), "the host name was not resolved within 30 s");
        assert_eq!(began.elapsed(), PATIENCE);
        // The same question is still under way: no second one, and no second wait.
        assert_eq!(names.addresses("h").await.unwrap_err(), fault);
        assert_eq!(began.elapsed(), PATIENCE);
        send.send(Ok(vec![address(1)])).unwrap();
        while matches!(locked(&names.known).get("h"), Some(Known::Asked { .. })) {
            std::thread::yield_now();
        }
        assert_eq!(names.addresses("h").await.unwrap()[0], address(1));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    /// The name takes longer than a connection may.
    #[tokio::test]
    async fn the_time_for_a_name_is_not_the_time_for_a_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://files.test:{}/x", listener.local_addr().unwrap().port());
        let connect = Duration::from_millis(200);
        let look_up = move |_: &str| {
            std::thread::sleep(connect * 2);
            Ok(vec![address(1)])
        };
        let names = Names::asking(Arc::new(look_up), PATIENCE);
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]).connect_timeout(connect);
        let client = builder.dns_resolver(Arc::new(Resolver(names.clone()))).build().unwrap();
        let wire = Dialled { client: client.clone(), names, may_use_proxy: false };
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = [0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut heard).await.unwrap();
            let answer = b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
            stream
        });
        let answer = wire.carry(client.get(url).build().unwrap()).await.unwrap();
        assert_eq!(answer.status(), 204);
        drop(server.await.unwrap());
    }
}
