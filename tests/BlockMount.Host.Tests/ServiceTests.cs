using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>A host as a service: what it tells the manager that started it, here a Python script with a NOTIFY_SOCKET.</summary>
public sealed class ServiceTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task It_tells_when_it_is_ready_reloads_lives_and_stops_and_a_stopped_one_shows_no_life(bool isAbstract)
    {
        await Blockmount.OkAsync("create", _folder["a.vdi"], "--size", "16M");
        await File.WriteAllTextAsync(_folder["blockmount.json"], $$"""{"socket": {{Nbdsh.Text(_folder["s"])}}, "exports": [{"name": "noticed", "image": "a.vdi"}]}""");
        var address = isAbstract ? "@" + Path.GetFileName(_folder.Root) : _folder["notify"];
        await Nbdsh.RunAsync($$"""
            manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            address = {{Nbdsh.Text(address)}}
            manager.bind("\0" + address[1:] if address[0] == "@" else address)
            manager.settimeout(20)
            environment = dict(os.environ, NOTIFY_SOCKET=address, WATCHDOG_USEC="400000")
            # No image and no --config: the file of the usual name in the working folder.
            service = subprocess.Popen([program, "serve"], cwd={{Nbdsh.Text(_folder.Root)}}, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            def next_but_life():
                while True:
                    message = dict(line.split("=", 1) for line in manager.recv(4096).decode().split("\n"))
                    if message != {"WATCHDOG": "1"}:
                        return message
            ready = next_but_life()
            assert ready == {"READY": "1", "MAINPID": str(service.pid), "STATUS": "serving 1 images"}, ready
            # Clients can connect by then.
            h.connect_uri("nbd+unix:///noticed?socket=" + {{Nbdsh.Text(_folder["s"])}})
            h.shutdown()
            for i in range(3):
                assert manager.recv(4096) == b"WATCHDOG=1"
            before = time.monotonic_ns() // 1000
            service.send_signal(signal.SIGHUP)
            reloading = next_but_life()
            assert reloading["RELOADING"] == "1", reloading
            assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000, reloading
            assert next_but_life()["READY"] == "1"
            # Whoever does not run shows no life.
            service.send_signal(signal.SIGSTOP)
            time.sleep(0.2)
            manager.setblocking(False)
            try:
                while True:
                    manager.recv(4096)
            except BlockingIOError:
                pass
            time.sleep(1)
            try:
                assert False, manager.recv(4096)
            except BlockingIOError:
                pass
            service.send_signal(signal.SIGCONT)
            manager.settimeout(20)
            assert manager.recv(4096) == b"WATCHDOG=1"
            service.send_signal(signal.SIGTERM)
            assert next_but_life() == {"STOPPING": "1"}
            output, errors = service.communicate(timeout=20)
            assert service.returncode == 0, errors
            assert "no image is named; serving what" in errors, errors
            """);
    }
}
