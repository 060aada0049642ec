using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>What a host writes of its work, and what is told of one that says nothing.</summary>
public sealed class LogTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Log_entries_are_one_json_object_a_line_when_asked_for()
    {
        await Blockmount.OkAsync("create", _folder["disk.vdi"], "--size", "1M");
        await using var server = await Server.StartAsync(_folder["s"], "--verbose", "--log-format", "json", _folder["disk.vdi"]);
        await Peer.RunOkAsync("nbdinfo", server.Uri);
        Assert.Equal(0, await server.StopAsync());
        var lines = server.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.NotEmpty(lines);
        foreach (var line in lines)
        {
            using var entry = JsonDocument.Parse(line);
            Assert.Contains(entry.RootElement.GetProperty("LogLevel").GetString(), new[] { "Debug", "Information" });
            Assert.NotEqual("", entry.RootElement.GetProperty("Message").GetString());
            Assert.True(entry.RootElement.GetProperty("Timestamp").GetDateTimeOffset() > DateTimeOffset.UtcNow.AddMinutes(-5));
        }
    }

    [Fact]
    public async Task A_host_that_does_not_answer_is_named_and_the_others_are_listed()
    {
        await Blockmount.OkAsync("create", _folder["a.vdi"], "--size", "1M");
        await Blockmount.OkAsync("create", _folder["b.vdi"], "--size", "1M");
        await using var still = await Server.StartAsync(_folder["a"], _folder["a.vdi"]);
        await using var other = await Server.StartAsync(_folder["b"], _folder["b.vdi"]);
        await Peer.RunOkAsync("/bin/kill", "-STOP", $"{still.Pid}");
        try
        {
            var list = await Blockmount.RunAsync("list");
            Assert.Equal(0, list.ExitCode);
            Assert.Contains($"process {still.Pid} does not answer", list.Error, StringComparison.Ordinal);
            Assert.Contains(_folder["b.vdi"], list.Output, StringComparison.Ordinal);
            Assert.DoesNotContain(_folder["a.vdi"], list.Output, StringComparison.Ordinal);
        }
        finally
        {
            await Peer.RunOkAsync("/bin/kill", "-CONT", $"{still.Pid}");
        }
    }
}
