//! Standard input, output and error, and what a guest can wait for: the input is at its end, the output goes to the
//! log, and everything is ready at once.
//!
//! The handles carry a number and nothing else, and no table of resources is behind them. `wasmtime-wasi` would keep a
//! boxed stream in its table for each, and enter an asynchronous runtime for each blocking call and each drop of one.
//! It must not know the clocks.

use wasmtime::component::Resource;
use wasmtime::{Result, bail};
use wasmtime_wasi::p2::bindings::cli::{stderr, stdin, stdout};
use wasmtime_wasi::p2::bindings::sync::io::{poll, streams};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};

use super::super::log::{Log, Stream};

/// What stdout and stderr say that they can take at once. More is taken as well, and cut by the log.
const WRITE_ROOM: usize = 64 << 10;

const STDOUT: u32 = 1;
const STDERR: u32 = 2;

type Input = Resource<DynInputStream>;
type Output = Resource<DynOutputStream>;
type Pollable = Resource<DynPollable>;

/// Something to wait for that has come already.
pub(super) fn ready() -> Pollable {
    Resource::new_own(0)
}

impl poll::Host for Log {
    fn poll(&mut self, list: Vec<Pollable>) -> Result<Vec<u32>> {
        if list.is_empty() {
            bail!("poll of an empty list would wait for ever");
        }
        Ok((0..u32::try_from(list.len())?).collect())
    }
}

impl poll::HostPollable for Log {
    fn ready(&mut self, _: Pollable) -> Result<bool> {
        Ok(true)
    }

    fn block(&mut self, _: Pollable) -> Result<()> {
        Ok(())
    }

    fn drop(&mut self, _: Pollable) -> Result<()> {
        Ok(())
    }
}

impl stdin::Host for Log {
    fn get_stdin(&mut self) -> Result<Input> {
        Ok(Resource::new_own(0))
    }
}

impl stdout::Host for Log {
    fn get_stdout(&mut self) -> Result<Output> {
        Ok(Resource::new_own(STDOUT))
    }
}

impl stderr::Host for Log {
    fn get_stderr(&mut self) -> Result<Output> {
        Ok(Resource::new_own(STDERR))
    }
}

impl streams::Host for Log {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        match error {
            StreamError::Closed => Ok(streams::StreamError::Closed),
            // Nothing here fails in a way that a guest could ask about.
            StreamError::LastOperationFailed(error) | StreamError::Trap(error) => Err(error),
        }
    }
}

impl streams::HostInputStream for Log {
    fn read(&mut self, _: Input, _: u64) -> StreamResult<Vec<u8>> {
        Err(StreamError::Closed)
    }

    fn blocking_read(&mut self, _: Input, _: u64) -> StreamResult<Vec<u8>> {
        Err(StreamError::Closed)
    }

    fn skip(&mut self, _: Input, _: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn blocking_skip(&mut self, _: Input, _: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn subscribe(&mut self, _: Input) -> Result<Pollable> {
        Ok(ready())
    }

    fn drop(&mut self, _: Input) -> Result<()> {
        Ok(())
    }
}

impl streams::HostOutputStream for Log {
    fn check_write(&mut self, _: Output) -> StreamResult<u64> {
        Ok(WRITE_ROOM as u64)
    }

    fn write(&mut self, to: Output, bytes: Vec<u8>) -> StreamResult<()> {
        let stream = if to.rep() == STDOUT { Stream::Out } else { Stream::Err };
        Log::write(self, stream, &bytes[..bytes.len().min(WRITE_ROOM)]);
        Ok(())
    }

    fn blocking_write_and_flush(&mut self, to: Output, bytes: Vec<u8>) -> StreamResult<()> {
        streams::HostOutputStream::write(self, to, bytes)
    }

    fn flush(&mut self, _: Output) -> StreamResult<()> {
        Ok(())
    }

    fn blocking_flush(&mut self, _: Output) -> StreamResult<()> {
        Ok(())
    }

    fn subscribe(&mut self, _: Output) -> Result<Pollable> {
        Ok(ready())
    }

    fn write_zeroes(&mut self, _: Output, _: u64) -> StreamResult<()> {
        Ok(())
    }

    fn blocking_write_zeroes_and_flush(&mut self, _: Output, _: u64) -> StreamResult<()> {
        Ok(())
    }

    fn splice(&mut self, _: Output, _: Input, _: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn blocking_splice(&mut self, _: Output, _: Input, _: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn drop(&mut self, _: Output) -> Result<()> {
        Ok(())
    }
}
