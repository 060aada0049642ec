#include "bm_shim.h"

#include <sys/eventfd.h>

/* A descriptor that bm_wait finds readable once bm_event_set was called, for ever. */
int32_t bm_event(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd == -1 ? -errno : fd;
}
