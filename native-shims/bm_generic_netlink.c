#include "bm_shim.h"

#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A socket to the kernel's generic netlink families, for bm_send and bm_recv. */
int32_t bm_generic_netlink(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
    if (fd == -1) {
        return -errno;
    }

    struct sockaddr_nl address;
    memset(&address, 0, sizeof address);
    address.nl_family = AF_NETLINK;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == -1) {
        int error = errno;
        close(fd);
        return -error;
    }

    return fd;
}
