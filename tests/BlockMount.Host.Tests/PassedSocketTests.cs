using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>Sockets that whoever starts the program has opened for it, as systemd does.</summary>
public sealed class PassedSocketTests : IDisposable
{
    private const int Size = 8 << 20;

    private readonly TempFolder _folder = new();

    public PassedSocketTests()
    {
        var content = new byte[Size];
        new Random(4).NextBytes(content);
        File.WriteAllBytes(_folder["disk.raw"], content);
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Libnbds_programs_start_the_server_themselves()
    {
        Peer.Require("nbdinfo", "libnbd-bin");
        string[] server = ["[", Blockmount.Program, "serve", "-r", "-f", "raw", _folder["disk.raw"], "]"];
        Assert.Equal($"{Size}\n", await Peer.RunOkAsync("nbdinfo", ["--size", "--", .. server]));
        await Peer.RunOkAsync("nbdcopy", ["--", .. server, _folder["copy.raw"]]);
        Assert.True(File.ReadAllBytes(_folder["copy.raw"]).AsSpan().SequenceEqual(File.ReadAllBytes(_folder["disk.raw"])));
        var command = $"nbdcopy -- [ '{Blockmount.Program}' serve -r -f raw '{_folder["disk.raw"]}' ] -";
        Assert.Equal(await Blockmount.Sha256OfAsync($"cat '{_folder["disk.raw"]}'"), await Blockmount.Sha256OfAsync(command));
    }

    [Fact]
    public async Task Several_listeners_are_served_and_no_child_inherits_them()
    {
        await Nbdsh.RunAsync($$"""
            unix = socket.socket(socket.AF_UNIX)
            unix.bind({{Nbdsh.Text(_folder["s"])}})
            unix.listen()
            tcp = socket.create_server(("127.0.0.1", 0))
            pid = start([program, "serve", "-f", "raw", {{Disk}}], [unix, tcp])
            for n, uri in [(nbd.NBD(), "nbd+unix:///?socket=" + {{Nbdsh.Text(_folder["s"])}}), (nbd.NBD(), "nbd://127.0.0.1:%d" % tcp.getsockname()[1])]:
                n.connect_uri(uri)
                assert n.pread(512, 512) == open({{Disk}}, "rb").read(1024)[512:]
                n.shutdown()
            for fd in [3, 4]:
                assert os.readlink("/proc/%d/fd/%d" % (pid, fd)).startswith("socket:")
                flags = [int(l.split()[1], 8) for l in open("/proc/%d/fdinfo/%d" % (pid, fd)) if l.startswith("flags")][0]
                assert flags & os.O_CLOEXEC, "descriptor %d of the server would be inherited" % fd
            os.kill(pid, signal.SIGTERM)
            assert end_of(pid) == 0
            """);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_connected_socket_is_served_and_then_the_server_ends(bool blocking)
    {
        await Nbdsh.RunAsync($$"""
            ours, theirs = socket.socketpair()
            theirs.setblocking({{(blocking ? "True" : "False")}})
            pid = start([program, "serve", "-f", "raw", {{Disk}}], [theirs])
            theirs.close()
            h.set_opt_mode(True)
            h.connect_socket(ours.detach())
            time.sleep(0.3)
            h.opt_go()
            time.sleep(0.3)
            h.pwrite(b"y" * 70000, 70000)
            assert h.pread(70000, 70000) == b"y" * 70000
            h.shutdown()
            assert end_of(pid) == 0
            """);
        Assert.True(File.ReadAllBytes(_folder["disk.raw"]).AsSpan(70000, 70000).IndexOfAnyExcept((byte)'y') < 0);
    }

    [Fact]
    public async Task What_is_no_stream_socket_is_refused()
    {
        await Nbdsh.RunAsync($$"""
            read, write = os.pipe()
            log = os.dup(2)
            os.dup2(write, 2)
            pid = start([program, "serve", "-f", "raw", {{Disk}}], [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)])
            assert end_of(pid) == 2
            os.dup2(log, 2)
            text = os.read(read, 1000)
            assert text.startswith(b"blockmount: Descriptor 3") and b"Dgram" in text, text
            """);
    }

    private string Disk => Nbdsh.Text(_folder["disk.raw"]);
}
