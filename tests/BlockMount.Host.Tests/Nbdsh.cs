using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Scripts for libnbd's Python shell, which can start programs with whatever descriptors a test wants.</summary>
internal static class Nbdsh
{
    private const string Prelude = """
        import json, os, signal, socket, struct, subprocess, sys, time
        def start(command, sockets):
            # As systemd does it: sockets from descriptor 3 on, and their number in variables.
            pid = os.fork()
            if pid == 0:
                high = [os.dup2(s.fileno(), 200 + i) for i, s in enumerate(sockets)]
                for i, fd in enumerate(high):
                    os.dup2(fd, 3 + i, inheritable=True)
                    os.close(fd)
                os.environ.update(LISTEN_FDS=str(len(sockets)), LISTEN_PID=str(os.getpid()))
                os.execv(command[0], command)
            return pid
        def end_of(pid):
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        def exactly(file, count):
            data = b""
            while len(data) < count:
                more = file.read(count - len(data))
                assert more, "the end after %d of %d bytes" % (len(data), count)
                data += more
            return data
        def request(kind, offset, length, flags=0):
            return struct.pack(">IHHQQI", 0x25609513, flags, kind, 1, offset, length)
        """;

    /// <summary>Runs it with a handle named <c>h</c>; fails the test when it throws.</summary>
    public static async Task<string> RunAsync(string script)
    {
        Peer.Require("nbdsh", "python3-libnbd");
        var result = await Peer.RunAsync("nbdsh", ["-c", Prelude, "-c", $"program = {Text(Blockmount.Program)}", "-c", script], timeoutSeconds: 60);
        Assert.True(result.ExitCode == 0, $"{result.Error}{result.Output}");
        return result.Output;
    }

    /// <summary>A string of the script.</summary>
    public static string Text(string text) => $"\"{text.Replace("\\", "\\\\").Replace("\"", "\\\"")}\"";
}
