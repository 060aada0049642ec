#include "bm_shim.h"

#include <fcntl.h>

int32_t bm_close_on_exec(int32_t fd)
{
    int flags = fcntl(fd, F_GETFD);
    return flags == -1 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) == -1 ? -errno : 0;
}
