// The process that holds a pod's namespaces: it sleeps, and ends when it is asked to.
#include <signal.h>
#include <unistd.h>

static void leave(int signal) {
  (void)signal;
  _exit(0);
}

int main(void) {
  signal(SIGTERM, leave);
  signal(SIGINT, leave);
  for (;;) pause();
}
