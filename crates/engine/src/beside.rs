//! A thread beside a render on a GPU. What is still to be done for a picture that has left the device (compressing previews and
//! frames, laying out checkpoints, the callbacks) is done there, in the order in which it came, while the next gradient steps run.
//! On a CPU the render does it by itself, but on the path of a GPU (`Kernels::Library`): the thread would take its cores, and memory
//! for the picture while the next one grows.
//!
//! It computes nothing with libtorch, which would start as many threads again as the render has.

use std::{
    cell::RefCell,
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread,
};

use super::RenderError;

/// Tasks that may wait for the one at work. A render that is faster than its pictures are compressed waits for them.
const WAITING: usize = 1;

/// Something to be done with the state.
type Task<S> = Box<dyn FnOnce(&mut S) -> Result<(), RenderError> + Send>;

/// Where tasks are done, with a state of their own.
pub(super) enum Beside<'a, S> {
    /// By the render, when they are handed over.
    Here(&'a RefCell<S>),
    /// On a thread, which owns the state.
    There(SyncSender<Task<S>>),
}

impl<S> Beside<'_, S> {
    /// Runs `render`, with a thread beside it where `threaded`. Returns what `render` does, and the state after the last task.
    ///
    /// # Errors
    /// That of `render`, or the first of a task, after which no other is done.
    pub(super) fn run<T>(
        threaded: bool,
        state: S,
        render: impl FnOnce(&Beside<'_, S>) -> Result<T, RenderError>,
    ) -> Result<(T, S), RenderError>
    where
        S: Send,
    {
        if threaded {
            return Self::with_thread(state, render);
        }
        let state = RefCell::new(state);
        let rendered = render(&Beside::Here(&state))?;
        Ok((rendered, state.into_inner()))
    }

    fn with_thread<T>(
        state: S,
        render: impl FnOnce(&Beside<'_, S>) -> Result<T, RenderError>,
    ) -> Result<(T, S), RenderError>
    where
        S: Send,
    {
        let (tasks, waiting) = sync_channel::<Task<S>>(WAITING);
        let span = tracing::Span::current();
        let work = move || {
            let _entered = span.enter();
            let mut state = state;
            waiting.iter().try_for_each(|task| task(&mut state))?;
            Ok(state)
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("beside".into()).spawn_scoped(scope, work);
            let thread = thread.map_err(|error| {
                RenderError::Engine(format!("the thread beside a render cannot be started: {error}"))
            })?;
            let there = Beside::There(tasks);
            let rendered = render(&there);
            drop(there);
            let state = thread.join().unwrap_or_else(|panic| Err(RenderError::of_panic(panic.as_ref())));
            match (rendered, state) {
                (Ok(rendered), Ok(state)) => Ok((rendered, state)),
                // A task failed: that is why the render could not go on.
                (Ok(_) | Err(RenderError::Stopped), Err(error)) => Err(error),
                (Err(error), _) => Err(error),
            }
        })
    }

    /// Has `task` done; waits while another one waits.
    ///
    /// # Errors
    /// Those of `task` where the render does it; otherwise when a task before failed: [`Self::run`] says why.
    pub(super) fn hand(
        &self,
        task: impl FnOnce(&mut S) -> Result<(), RenderError> + Send + 'static,
    ) -> Result<(), RenderError> {
        match self {
            Self::Here(state) => task(&mut state.borrow_mut()),
            Self::There(tasks) => tasks.send(Box::new(task)).map_err(|_| RenderError::Stopped),
        }
    }

    /// The same, but `task` is dropped where another one waits.
    ///
    /// # Errors
    /// As [`Self::hand`].
    pub(super) fn offer(
        &self,
        task: impl FnOnce(&mut S) -> Result<(), RenderError> + Send + 'static,
    ) -> Result<(), RenderError> {
        let Self::There(tasks) = self else { return self.hand(task) };
        match tasks.try_send(Box::new(task)) {
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(RenderError::Stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::mpsc::channel,
    };

    use super::*;

    #[test]
    fn tasks_are_done_in_their_order_while_the_render_goes_on() {
        let (go, gate) = channel::<()>();
        let (rendered, seen) = Beside::run(true, Vec::new(), |beside| {
            beside.hand(move |seen: &mut Vec<u32>| {
                // The render has come to its end by then.
                gate.recv().unwrap();
                seen.push(0);
                Ok(())
            })?;
            beside.hand(|seen| {
                seen.push(1);
                Ok(())
            })?;
            go.send(()).unwrap();
            for number in 2..5 {
                beside.hand(move |seen| {
                    seen.push(number);
                    Ok(())
                })?;
            }
            Ok("rendered")
        })
        .unwrap();
        assert_eq!((rendered, &seen[..]), ("rendered", &[0, 1, 2, 3, 4][..]));
    }

    #[test]
    fn what_is_only_offered_is_dropped_where_something_waits() {
        let (go, gate) = channel::<()>();
        let (begun, begins) = channel();
        let ((), seen) = Beside::run(true, Vec::new(), |beside| {
            beside.hand(move |_| {
                begun.send(()).unwrap();
                gate.recv().unwrap();
                Ok(())
            })?;
            begins.recv().unwrap();
            for number in 0..3 {
                beside.offer(move |seen: &mut Vec<u32>| {
                    seen.push(number);
                    Ok(())
                })?;
            }
            go.send(()).unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [0]);
    }

    #[test]
    fn a_task_that_fails_ends_the_render_and_is_its_error() {
        for panics in [false, true] {
            let mut handed = 0;
            let failed = Beside::run(true, (), |beside| {
                beside.hand(move |()| match panics {
                    true => panic!("an encoder gave up"),
                    false => Err(RenderError::Engine("no room".into())),
                })?;
                loop {
                    beside.hand(|()| panic!("nothing is done after a failure"))?;
                    handed += 1;
                }
                #[allow(unreachable_code, reason = "says what would be returned")]
                Ok(())
            });
            let text = failed.unwrap_err().to_string();
            assert!(text.contains(if panics { "an encoder gave up" } else { "no room" }), "{text}");
            assert!(handed <= WAITING + 1);
        }
        // What was handed over before the render failed is done all the same.
        let (tell, told) = channel();
        let failed = Beside::run(true, (), |beside| {
            beside.hand(move |()| {
                tell.send("octave").unwrap();
                Ok(())
            })?;
            Err::<(), _>(RenderError::Canceled)
        });
        assert!(matches!(failed, Err(RenderError::Canceled)));
        assert_eq!(told.recv(), Ok("octave"));
    }

    #[test]
    fn a_render_without_a_thread_does_the_tasks_itself() {
        let ((), seen) = Beside::run(false, Vec::new(), |beside| {
            for number in 0..3 {
                beside.hand(move |seen: &mut Vec<u32>| {
                    seen.push(number);
                    Ok(())
                })?;
            }
            beside.offer(|seen| {
                assert_eq!(seen[..], [0, 1, 2], "each is done at once");
                seen.push(3);
                Ok(())
            })
        })
        .unwrap();
        assert_eq!(seen, [0, 1, 2, 3]);
        let failed = Beside::run(false, (), |beside| beside.hand(|()| Err(RenderError::NoMask)));
        assert!(matches!(failed, Err(RenderError::NoMask)));
    }

    #[test]
    fn a_render_that_panics_does_not_wait_for_ever() {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            Beside::run(true, (), |_| -> Result<(), RenderError> { panic!("out of memory") })
        }));
        assert!(panic.is_err());
    }
}
