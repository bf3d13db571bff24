//! Questions with a truncated answer, asked again over TCP by a thread of their own.
//!
//! One idea: the thread lives in the daemon's namespace, as all sockets to forwarders must. It may block there, since
//! it delays only the next such question. At most [`MOST`] questions wait; one more gets the truncated answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::sys::confine::{self, Role};

use super::upstream::Asker;

/// Questions that wait.
const MOST: usize = 64;
/// How long connecting may take, and then each read and write.
const PATIENCE: Duration = Duration::from_secs(1);

/// A question, its forwarder, and the answer to give if TCP fails.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) asker: Asker,
    pub(super) question: Vec<u8>,
    pub(super) to: SocketAddr,
    pub(super) truncated: Vec<u8>,
}

/// The handle of the thread, which ends with it.
#[derive(Debug)]
pub(super) struct Whole {
    questions: Sender<Again>,
    answers: Receiver<(Asker, Vec<u8>)>,
}

impl Whole {
    /// Asks from the calling thread's namespace, without capabilities, and calls `wake` for each answer.
    pub(super) fn start(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (questions, asked) = bounded::<Again>(MOST);
        let (answer, answers) = bounded(MOST);
        let run = move |()| {
            for again in asked {
                let Again { asker, question, to, truncated } = again;
                let reply = ask(&question, to).unwrap_or(truncated);
                if answer.send((asker, reply)).is_err() {
                    return;
                }
                wake();
            }
        };
        confine::spawn("vnet-names", Role::Service, || Ok(()), run)?;
        Ok(Self { questions, answers })
    }

    /// Queues a question; returns its truncated answer where too many wait.
    pub(super) fn ask(&self, again: Again) -> Option<(Asker, Vec<u8>)> {
        let (TrySendError::Full(again) | TrySendError::Disconnected(again)) = self.questions.try_send(again).err()?;
        Some((again.asker, again.truncated))
    }

    /// The answers that have arrived.
    pub(super) fn heard(&self) -> impl Iterator<Item = (Asker, Vec<u8>)> {
        self.answers.try_iter()
    }
}

/// RFC 1035 section 4.2.2: two bytes of length before a message.
fn ask(question: &[u8], to: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer)?;
    // An answer to another question is ignored.
    if super::dns::is_about(&answer, question) && answer[..2] == question[..2] {
        Ok(answer)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::model::RecordType;
    use crate::platform::resolver;

    /// An answer has the number of its question and says what was asked.
    #[test]
    fn an_answer_to_another_question_is_ignored() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let asked = resolver::question("web", RecordType::A).unwrap();
        let answering = |question: &[u8], number: u8| {
            let mut answer = question.to_vec();
            answer[0] ^= number;
            // It is an answer.
            answer[2] |= 0x80;
            answer
        };
        let mut other = resolver::question("db", RecordType::A).unwrap();
        other[..2].copy_from_slice(&asked[..2]);
        for (answer, fits) in [
            (answering(&asked, 0), true),
            (answering(&asked, 1), false),
            (answering(&other, 0), false),
            (asked.clone(), false),
        ] {
            let sent = answer.clone();
            let said = thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut heard = vec![0; asked.len() + 2];
                    stream.read_exact(&mut heard).unwrap();
                    let length = u16::try_from(sent.len()).unwrap().to_be_bytes();
                    stream.write_all(&[&length[..], &sent].concat()).unwrap();
                });
                ask(&asked, to)
            });
            assert_eq!(said.ok(), fits.then_some(answer));
        }
    }
}
