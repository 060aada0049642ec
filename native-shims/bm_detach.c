#include "bm_shim.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A terminal, or a pipe or socket at whose other end somebody waits. A file is left alone: it may be open for another reason too. */
static bool holds_a_peer(const struct stat *facts)
{
    return S_ISCHR(facts->st_mode) || S_ISFIFO(facts->st_mode) || S_ISSOCK(facts->st_mode);
}

static bool is_one_of(const struct stat *facts, const struct stat standard[3])
{
    for (int i = 0; i < 3; i++) {
        if (holds_a_peer(&standard[i]) && facts->st_dev == standard[i].st_dev && facts->st_ino == standard[i].st_ino) {
            return true;
        }
    }
    return false;
}

/*
 * The runtime keeps copies of the standard descriptors. As long as one is open, a reader at the other end of a pipe waits for
 * more. They are replaced and not closed: their numbers belong to objects of the runtime that will close them later.
 */
static void replace_copies(int null, const struct stat standard[3])
{
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        return;
    }

    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        int fd = atoi(entry->d_name);
        struct stat facts;
        if (entry->d_name[0] != '.' && fd != null && fd != dirfd(directory) && fstat(fd, &facts) == 0 && is_one_of(&facts, standard)) {
            dup3(null, fd, fd <= STDERR_FILENO ? 0 : O_CLOEXEC);
        }
    }
    closedir(directory);
}

int32_t bm_detach(void)
{
    /* A session of its own: the terminal's Ctrl+C and hang-up no longer reach this process. Fails only for a group leader. */
    setsid();

    struct stat standard[3] = {0};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fstat(fd, &standard[fd]) == -1) {
            return -errno;
        }
    }

    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null == -1) {
        return -errno;
    }

    replace_copies(null, standard);

    /* Where /proc is not mounted at least these three go. */
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (dup2(null, fd) == -1) {
            int error = errno;
            close(null);
            return -error;
        }
    }

    return close(null) == -1 ? -errno : 0;
}
