#include "bm_shim.h"

#include <unistd.h>

/* Linux releases the descriptor even when close is interrupted: a second close could hit somebody else's file. */
int32_t bm_close(int32_t fd)
{
    return close(fd) == -1 && errno != EINTR ? -errno : 0;
}
