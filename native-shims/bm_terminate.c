#include "bm_shim.h"

#include <signal.h>
#include <sys/types.h>

/* Asks a process to end, as kill(1) does. */
int32_t bm_terminate(int32_t process)
{
    return kill((pid_t)process, SIGTERM) == -1 ? -errno : 0;
}
