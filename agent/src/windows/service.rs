//! Being run by Windows' service manager. Invariant: it hears at once that a stop was understood; whatever ends
//! the agent is told to it as an end, and a fault as one, so that it starts the agent again.

use std::ffi::OsString;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use windows_service::service::{
    PowerEventParam, Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceControl,
    ServiceControlAccept, ServiceExitCode, ServiceFailureActions, ServiceFailureResetPeriod, ServiceState,
    ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_service::{define_windows_service, service_dispatcher};

use super::places::SERVICE;

/// How long a stop may take: what is under way on the disk is finished, and a look is left to itself.
const STOP_TIME: Duration = Duration::from_secs(5);

/// From a fault to the start after it, three times in a row; a day without one forgets them.
const RESTARTS: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(900)];
const RESTARTS_FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// Told by the agent's own code that it failed.
const FAILED: u32 = 1;

/// The machine woke up, or its clock was set: a reason to look.
pub static STIRRED: Notify = Notify::const_new();

type Work = Box<dyn FnOnce(watch::Receiver<bool>) -> Result<(), String> + Send>;

static HANDLE: OnceLock<ServiceStatusHandle> = OnceLock::new();

static WORK: Mutex<Option<Work>> = Mutex::new(None);

define_windows_service!(entry, run_as_service);

/// Runs `work` until the service manager says stop; its argument turns true then. Called from the process's main thread.
///
/// # Errors
/// When this process was not started by the service manager.
pub fn run(
    work: impl FnOnce(watch::Receiver<bool>) -> Result<(), String> + Send + 'static,
) -> Result<(), windows_service::Error> {
    *WORK.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(work));
    service_dispatcher::start(SERVICE, entry)
}

fn run_as_service(_arguments: Vec<OsString>) {
    let Some(work) = WORK.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    let (stop, stopped) = watch::channel(false);
    let handler = move |control| match control {
        ServiceControl::Stop | ServiceControl::Shutdown | ServiceControl::Preshutdown => {
            if let Some(handle) = HANDLE.get() {
                tell(*handle, ServiceState::StopPending, 0);
            }
            stop.send_replace(true);
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::PowerEvent(PowerEventParam::ResumeAutomatic | PowerEventParam::ResumeSuspend)
        | ServiceControl::TimeChange => {
            STIRRED.notify_one();
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate | ServiceControl::PowerEvent(_) => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let Ok(handle) = service_control_handler::register(SERVICE, handler) else { return };
    let handle = *HANDLE.get_or_init(|| handle);
    tell(handle, ServiceState::Running, 0);
    settle();
    let code = match work(stopped) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(error, "the agent ends");
            FAILED
        }
    };
    tell(handle, ServiceState::Stopped, code);
}

fn tell(handle: ServiceStatusHandle, state: ServiceState, code: u32) {
    let accepted = ServiceControlAccept::STOP
        | ServiceControlAccept::PRESHUTDOWN
        | ServiceControlAccept::POWER_EVENT
        | ServiceControlAccept::TIME_CHANGE;
    let status = ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: if state == ServiceState::Running {
            accepted
        } else {
            ServiceControlAccept::empty()
        },
        exit_code: if code == 0 { ServiceExitCode::NO_ERROR } else { ServiceExitCode::ServiceSpecific(code) },
        checkpoint: 0,
        wait_hint: if state == ServiceState::StopPending { STOP_TIME } else { Duration::ZERO },
        process_id: None,
    };
    // A service manager that does not listen is shutting down.
    let _ = handle.set_service_status(status);
}

/// What the installer's table of services has no words for: started late, so that it holds up no desktop, and again after a
/// fault. Where the system does not take it (an older one, or no rights) the service runs as well.
fn settle() {
    let access = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
    let opened = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)
        .and_then(|manager| manager.open_service(SERVICE, access));
    let told = opened.map(|service| [late(&service), again(&service)]);
    match told {
        Ok(told) => {
            for error in told.into_iter().filter_map(Result::err) {
                tracing::debug!(error = error.to_string(), "a setting of the service was not taken");
            }
        }
        Err(error) => {
            tracing::debug!(error = error.to_string(), "the service's settings are left as they are")
        }
    }
}

fn late(service: &Service) -> windows_service::Result<()> {
    service.set_delayed_auto_start(true)
}

fn again(service: &Service) -> windows_service::Result<()> {
    let restart = |delay| ServiceAction { action_type: ServiceActionType::Restart, delay };
    service.update_failure_actions(ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(RESTARTS_FORGOTTEN),
        reboot_msg: None,
        command: None,
        actions: Some(RESTARTS.map(restart).to_vec()),
    })?;
    service.set_failure_actions_on_non_crash_failures(true)
}
