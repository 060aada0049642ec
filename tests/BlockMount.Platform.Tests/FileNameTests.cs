using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Platform.Tests;

/// <summary>Other names for files, against what the system's own tools show.</summary>
public sealed class FileNameTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_renamed_file_is_the_same_file_and_stays_open_and_locked()
    {
        Directory.CreateDirectory(_folder["d"]);
        await using var store = await Stores.CreateAsync(_folder["a"], "text"u8.ToArray());
        var inode = await Peer.RunOkAsync("stat", "-c", "%i", _folder["a"]);

        Assert.True(await Stores.Provider.RenameAsync(_folder["a"], _folder["d/b"]));
        Assert.Equal(inode, await Peer.RunOkAsync("stat", "-c", "%i", _folder["d/b"]));
        Assert.False(File.Exists(_folder["a"]));
        await Stores.OpenFailsAsync(ErrorKind.Busy, _folder["d/b"], StoreAccess.Write);
        await store.WriteAsync(0, "TEXT"u8.ToArray());
        Assert.Equal("TEXT", await File.ReadAllTextAsync(_folder["d/b"]));
    }

    [Fact]
    public async Task A_second_name_names_the_same_file()
    {
        await File.WriteAllTextAsync(_folder["a"], "text");
        Assert.True(await Stores.Provider.LinkAsync(_folder["a"], _folder["b"]));
        Assert.Equal("2\n2\n", await Peer.RunOkAsync("stat", "-c", "%h", _folder["a"], _folder["b"]));
        Stores.Provider.Delete(_folder["a"]);
        Assert.Equal("text", await File.ReadAllTextAsync(_folder["b"]));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Nothing_is_overwritten_not_even_a_dead_link_and_what_is_missing_is_not_found(bool rename)
    {
        await File.WriteAllTextAsync(_folder["a"], "a");
        await File.WriteAllTextAsync(_folder["b"], "b");
        await Peer.RunOkAsync("ln", "-s", "/nowhere", _folder["dead"]);
        foreach (var taken in new[] { "b", "dead" })
        {
            var error = await Stores.FailsAsync(ErrorKind.AlreadyExists, () => NameAsync(rename, "a", taken));
            Assert.StartsWith(_folder[taken] + ": exists already", error.Message, StringComparison.Ordinal);
        }

        await Stores.FailsAsync(ErrorKind.NotFound, () => NameAsync(rename, "none", "c"));
        await Stores.FailsAsync(ErrorKind.NotFound, () => NameAsync(rename, "a", "none/c"));
        await Stores.FailsAsync(ErrorKind.InvalidArgument, () => NameAsync(rename, "a", "c\0d"));
        Assert.Equal(("a", "b"), (await File.ReadAllTextAsync(_folder["a"]), await File.ReadAllTextAsync(_folder["b"])));
        Assert.Equal("/nowhere", new FileInfo(_folder["dead"]).LinkTarget);
    }

    [Fact]
    public async Task Another_file_system_is_no_error_and_nothing_changes()
    {
        Peer.Require(Directory.Exists("/dev/shm"), "/dev/shm is missing");
        var other = Directory.CreateDirectory($"/dev/shm/blockmount-test-{Guid.NewGuid():N}").FullName;
        try
        {
            Peer.Require(
                await Peer.RunOkAsync("stat", "-c", "%d", other) != await Peer.RunOkAsync("stat", "-c", "%d", _folder.Root), "/dev/shm and the temporary folder are one file system");
            await File.WriteAllTextAsync(_folder["a"], "a");
            Assert.False(await Stores.Provider.RenameAsync(_folder["a"], Path.Combine(other, "b")));
            Assert.False(await Stores.Provider.LinkAsync(_folder["a"], Path.Combine(other, "b")));
            Assert.Empty(Directory.GetFiles(other));
            Assert.Equal("a", await File.ReadAllTextAsync(_folder["a"]));
        }
        finally
        {
            Directory.Delete(other, recursive: true);
        }
    }

    [Fact]
    public async Task A_new_file_takes_over_permissions_and_owner()
    {
        await File.WriteAllTextAsync(_folder["a"], "a");
        await Peer.RunOkAsync("chmod", "0460", _folder["a"]);
        if (Environment.UserName == "root")
        {
            await Peer.RunOkAsync("chown", "1:2", _folder["a"]);
        }

        await using var made = await Stores.CreateAsync(_folder["b"]);
        Stores.Provider.TakeAccess(_folder["b"], _folder["a"]);
        Assert.Equal(await Peer.RunOkAsync("stat", "-c", "%a %u %g", _folder["a"]), await Peer.RunOkAsync("stat", "-c", "%a %u %g", _folder["b"]));
        Assert.Equal(ErrorKind.NotFound, Assert.Throws<DiskException>(() => Stores.Provider.TakeAccess(_folder["b"], _folder["none"])).Kind);
    }

    private async Task NameAsync(bool rename, string from, string to) =>
        Assert.True(await (rename ? Stores.Provider.RenameAsync(_folder[from], _folder[to]) : Stores.Provider.LinkAsync(_folder[from], _folder[to])));
}
