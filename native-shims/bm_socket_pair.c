#include "bm_shim.h"

#include <sys/socket.h>

/* Two connected Unix stream sockets, which programs started from this one do not inherit. */
int32_t bm_socket_pair(int32_t *first, int32_t *second)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == -1) {
        return -errno;
    }

    *first = pair[0];
    *second = pair[1];
    return 0;
}
