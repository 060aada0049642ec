#include "bm_shim.h"

#include <sys/eventfd.h>

int32_t bm_event_set(int32_t fd)
{
    /* A counter that is full is set as well. */
    return eventfd_write(fd, 1) == -1 && errno != EAGAIN ? -errno : 0;
}
