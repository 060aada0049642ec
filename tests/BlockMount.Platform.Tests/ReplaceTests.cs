using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Platform.Tests;

/// <summary>One file in the place of another, against what the system's own tools show.</summary>
public sealed class ReplaceTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task The_new_file_has_the_others_name_permissions_and_owner_and_stays_open_and_locked()
    {
        await File.WriteAllTextAsync(_folder["a"], "old");
        await Peer.RunOkAsync("chmod", "0640", _folder["a"]);
        if (Environment.UserName == "root")
        {
            await Peer.RunOkAsync("chown", "1:2", _folder["a"]);
        }

        var owner = await Peer.RunOkAsync("stat", "-c", "%a %u %g", _folder["a"]);
        var old = await Stores.OpenAsync(_folder["a"], StoreAccess.Write);
        var made = await Stores.CreateAsync(_folder["b"], "new"u8.ToArray());
        await using (var result = await Stores.Provider.ReplaceAsync(made, _folder["a"]))
        {
            Assert.Equal(_folder["a"], result.Name);
            Assert.Equal("new", await File.ReadAllTextAsync(_folder["a"]));
            Assert.Equal(owner, await Peer.RunOkAsync("stat", "-c", "%a %u %g", _folder["a"]));
            Assert.Equal([_folder["a"]], Directory.GetFiles(_folder.Root));
            Assert.Equal("old"u8.ToArray(), await Stores.ReadAsync(old, 0, 3));
            await old.DisposeAsync();

            await Stores.OpenFailsAsync(ErrorKind.Busy, _folder["a"], StoreAccess.Write);
            await result.WriteAsync(0, "NEWER"u8.ToArray());
            await result.FlushAsync();
            Assert.Equal(5, result.Length);
        }

        Assert.Equal("NEWER", await File.ReadAllTextAsync(_folder["a"]));
        await (await Stores.OpenAsync(_folder["a"], StoreAccess.Write)).DisposeAsync();
    }

    [Theory]
    [InlineData("link", "a symbolic link")]
    [InlineData("twin", "hard links")]
    [InlineData("folder", "no regular file")]
    public async Task What_would_go_on_naming_the_old_file_or_is_none_is_refused_and_both_stay(string name, string why)
    {
        await File.WriteAllTextAsync(_folder["a"], "old");
        await Peer.RunOkAsync("ln", "-s", _folder["a"], _folder["link"]);
        await Peer.RunOkAsync("ln", _folder["a"], _folder["twin"]);
        Directory.CreateDirectory(_folder["folder"]);
        await using var made = await Stores.CreateAsync(_folder["b"], "new"u8.ToArray());

        var error = await Stores.FailsAsync(ErrorKind.InvalidArgument, async () => await Stores.Provider.ReplaceAsync(made, _folder[name]));

        Assert.StartsWith(_folder[name] + ": ", error.Message, StringComparison.Ordinal);
        Assert.Contains(why, error.Message, StringComparison.Ordinal);
        Assert.Equal("old", await File.ReadAllTextAsync(_folder["a"]));
        Assert.Equal("new"u8.ToArray(), await Stores.ReadAsync(made, 0, 3));
        Assert.NotNull(new FileInfo(_folder["link"]).LinkTarget);
    }

    [Fact]
    public async Task A_name_that_is_missing_is_not_found()
    {
        await using var made = await Stores.CreateAsync(_folder["b"], [1]);
        await Stores.FailsAsync(ErrorKind.NotFound, async () => await Stores.Provider.ReplaceAsync(made, _folder["none"]));
        Assert.True(File.Exists(_folder["b"]));
    }
}
