using BlockMount.Platform.Files;
using BlockMount.TestSupport.Scenarios;

namespace BlockMount.Platform.Tests.Scenarios;

/// <summary>VirtualBox's scenarios over files of the host, at an eighth of their size.</summary>
public sealed class VirtualBoxScriptTests : VirtualBoxScriptFacts, IDisposable
{
    private readonly TempFolder _folder = new();

    private protected override VirtualBoxScripts Scripts => new(new FileStoreProvider(), _folder.Root, 131072);

    public void Dispose() => _folder.Dispose();
}
