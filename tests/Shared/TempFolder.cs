namespace BlockMount.TestSupport;

/// <summary>A folder of the test's own, removed with it.</summary>
internal sealed class TempFolder : IDisposable
{
    public TempFolder() => Root = Directory.CreateTempSubdirectory("blockmount-test-").FullName;

    public string Root { get; }

    public string this[string name] => Path.Combine(Root, name);

    public void Dispose() => Directory.Delete(Root, recursive: true);
}
