using BlockMount.Nbd.Tests.Support;
using BlockMount.TestSupport;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Tests;

/// <summary>Exports that come and go, and that refuse writes for a while, under a server that goes on.</summary>
public sealed class RunTimeExportTests
{
    [Fact]
    public async Task An_export_that_is_added_can_be_entered_and_listed_by_clients_of_then()
    {
        await using var server = new TestServer(new MemoryDevice(1 << 20));
        using var early = server.Connect();
        early.Handshake();
        var device = new MemoryDevice(1 << 20);
        device.Bytes[5] = 42;
        server.Server.Add(new NbdExport("second", device));

        using var client = server.Go(name: "second");
        Assert.Equal(42, client.Read(0, 512)[5]);
        Assert.Equal("disk second\n", await ListAsync(server));

        // Also by one that was in the middle of its handshake.
        early.Option(NBD_OPT_GO, RawClient.GoPayload("second"));
        Assert.Equal(NBD_REP_ACK, early.OptionReplies()[^1].Type);
        Assert.Throws<ArgumentException>(() => server.Server.Add(new NbdExport("second", device)));
    }

    [Fact]
    public async Task Removing_an_export_ends_its_connections_after_what_is_under_way_and_no_others()
    {
        var delay = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var slow = new SlowDevice(1 << 20) { Gate = (_, _) => delay.Task };
        var export = new NbdExport("second", slow);
        await using var server = new TestServer(new MemoryDevice(1 << 20));
        server.Server.Add(export);
        using var other = server.Go();
        using var idle = server.Go(name: "second");
        using var busy = server.Go(name: "second");
        busy.Request(NBD_CMD_WRITE, 0, 512, payload: new byte[512]);
        await TestServer.UntilAsync(() => server.Server.Clients.Any(c => c.Pending == 1), "a request under way");

        var removing = server.Server.RemoveAsync(export);
        Assert.True(idle.IsClosed());
        Assert.False(removing.IsCompleted);
        other.AssertInStep();
        delay.SetResult();
        Assert.Equal(NBD_SUCCESS, busy.Reply().Error);
        Assert.True(busy.IsClosed());
        await removing;

        other.AssertInStep();
        Assert.Equal("disk\n", await ListAsync(server));
        using var late = server.Connect();
        late.Handshake();
        late.Option(NBD_OPT_GO, RawClient.GoPayload("second"));
        Assert.Equal(NBD_REP_ERR_UNKNOWN, late.OptionReplies()[^1].Type);
    }

    [Fact]
    public async Task A_removal_whose_time_is_up_cuts_clients_off_and_still_waits_for_the_device()
    {
        var delay = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var slow = new SlowDevice(1 << 20) { Gate = (_, _) => delay.Task };
        var export = new NbdExport("second", slow);
        await using var server = new TestServer(new MemoryDevice(1 << 20));
        server.Server.Add(export);
        using var busy = server.Go(name: "second");
        busy.Request(NBD_CMD_WRITE, 0, 512, payload: new byte[512]);
        await TestServer.UntilAsync(() => server.Server.Clients.Any(c => c.Pending == 1), "a request under way");

        var removing = server.Server.RemoveAsync(export, new CancellationToken(canceled: true));
        Assert.True(busy.IsClosed());
        await Task.Delay(100);
        Assert.False(removing.IsCompleted);
        delay.SetResult();
        await removing.WaitAsync(TimeSpan.FromSeconds(10));
    }

    [Fact]
    public async Task Without_the_first_export_the_empty_name_is_nobodys_until_one_of_its_name_comes_back()
    {
        var first = new NbdExport("a", new MemoryDevice(1 << 20));
        await using var server = new TestServer([first, new NbdExport("b", new MemoryDevice(2 << 20))]);
        Assert.Equal(NBD_REP_ACK, GoTo(server, ""));
        await server.Server.RemoveAsync(first);
        Assert.Equal(NBD_REP_ERR_UNKNOWN, GoTo(server, ""));
        Assert.Equal(NBD_REP_ACK, GoTo(server, "b"));
        server.Server.Add(new NbdExport("a", new MemoryDevice(3 << 20)));
        Assert.Equal(NBD_REP_ACK, GoTo(server, ""));
    }

    [Fact]
    public async Task A_protected_export_refuses_changes_of_its_clients_with_eperm_tells_new_ones_and_takes_them_again()
    {
        var export = new NbdExport("disk", new MemoryDevice(1 << 20)) { Trim = true };
        await using var server = new TestServer([export]);
        using var client = server.Go();
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE, 0, 512, payload: new byte[512]));
        export.IsWriteProtected = true;
        Assert.Equal(NBD_EPERM, client.Error(NBD_CMD_WRITE, 0, 512, payload: new byte[512]));
        Assert.Equal(NBD_EPERM, client.Error(NBD_CMD_WRITE_ZEROES, 0, 512));
        Assert.Equal(NBD_EPERM, client.Error(NBD_CMD_TRIM, 0, 512));
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_FLUSH, 0, 0));
        client.AssertInStep();
        Peer.Require("nbdinfo", "libnbd-bin");
        Assert.Contains("is_read_only: true", await Peer.RunOkAsync("nbdinfo", server.Uri), StringComparison.Ordinal);

        export.IsWriteProtected = false;
        Assert.Equal(NBD_SUCCESS, client.Error(NBD_CMD_WRITE, 0, 512, payload: new byte[512]));
        Assert.Contains("is_read_only: false", await Peer.RunOkAsync("nbdinfo", server.Uri), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_that_takes_no_clients_keeps_those_it_has_and_takes_others_again()
    {
        await using var server = new TestServer(new MemoryDevice(1 << 20));
        using var client = server.Go();
        server.Server.TakesClients = false;
        Assert.Equal(NBD_REP_ERR_SHUTDOWN, GoTo(server, "disk"));
        client.AssertInStep();
        server.Server.TakesClients = true;
        Assert.Equal(NBD_REP_ACK, GoTo(server, "disk"));
    }

    /// <summary>Names as nbdinfo lists them.</summary>
    private static async Task<string> ListAsync(TestServer server)
    {
        Peer.Require("nbdsh", "python3-libnbd");
        return await Peer.RunOkAsync(
            "nbdsh", "-c", "h.set_opt_mode(True)", "-c", $"h.connect_unix('{server.Path}')", "-c", "names = []",
            "-c", "h.opt_list(lambda name, text: names.append(name) or 0)", "-c", "print(*names)", "-c", "h.opt_abort()");
    }

    private static uint GoTo(TestServer server, string name)
    {
        using var client = server.Connect();
        client.Handshake();
        client.Option(NBD_OPT_GO, RawClient.GoPayload(name));
        return client.OptionReplies()[^1].Type;
    }
}
