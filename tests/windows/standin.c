/* Stand-ins of the vendor's programs on Windows. Without -DPCCNTMON: a service that runs until it is told to stop. With it:
   the program that unloads the security agent (-n PASSWORD) by stopping its services, or starts them. Built by the test with
   a C compiler, since a service has to be a program of its own. */
#include <windows.h>
#include <string.h>

#ifdef PCCNTMON
static const char *NAMES[] = {"ntrtscan", "tmlisten"};

static void each(int stop) {
  SC_HANDLE manager = OpenSCManagerA(NULL, NULL, SC_MANAGER_CONNECT);
  SERVICE_STATUS status;
  int at;
  for (at = 0; at < 2; at++) {
    SC_HANDLE service = OpenServiceA(manager, NAMES[at], SERVICE_STOP | SERVICE_START);
    if (stop) ControlService(service, SERVICE_CONTROL_STOP, &status);
    else StartServiceA(service, 0, NULL);
    CloseServiceHandle(service);
  }
}

int main(int count, char **words) {
  if (count == 3 && !strcmp(words[1], "-n")) {
    if (!strcmp(words[2], "hunter2")) each(1);
    return 0;
  }
  each(0);
  Sleep(3600 * 1000);
  return 0;
}
#else
static SERVICE_STATUS_HANDLE handle;
static HANDLE over;

static void tell(DWORD state) {
  SERVICE_STATUS status = {SERVICE_WIN32_OWN_PROCESS, state, SERVICE_ACCEPT_STOP, 0, 0, 0, 0};
  SetServiceStatus(handle, &status);
}

static void WINAPI control(DWORD what) {
  if (what == SERVICE_CONTROL_STOP) SetEvent(over);
}

static void WINAPI service(DWORD count, char **words) {
  over = CreateEventA(NULL, TRUE, FALSE, NULL);
  handle = RegisterServiceCtrlHandlerA("", control);
  tell(SERVICE_RUNNING);
  WaitForSingleObject(over, INFINITE);
  tell(SERVICE_STOPPED);
}

int main(void) {
  SERVICE_TABLE_ENTRYA table[] = {{"", service}, {NULL, NULL}};
  return !StartServiceCtrlDispatcherA(table);
}
#endif
