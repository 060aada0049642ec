using System.Runtime.CompilerServices;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Chain;

/// <summary>
/// A chain whose images can be exchanged while it is used: differencing images stacked on it and closed again, images merged. What the 2010 API calls
/// a container. Readers and writers notice nothing but a short wait at the moment of the exchange.
/// </summary>
/// <remarks>
/// Requests are counted by a <see cref="RequestGate"/>; the images are exchanged while it is closed, so that every request sees one chain from its
/// beginning to its end, and an image is closed only when nobody uses it. Operations on the images are carried out one at a time.
/// </remarks>
public sealed partial class LiveChain : BlockDevice
{
    private readonly ChainOpener _opener;
    private readonly ChainOpenOptions _options;
    private readonly RequestGate _gate = new();
    private readonly SemaphoreSlim _operation = new(1);
    private volatile DiskChain _chain;
    private volatile ChangeTracker? _tracker;
    private volatile bool _isReadOnly;
    private volatile bool _isProtected;

    /// <param name="chain">Open; belongs to this from now on.</param>
    /// <param name="opener">Opens images again in another mode.</param>
    /// <param name="options">What the chain was opened with.</param>
    public LiveChain(DiskChain chain, ChainOpener opener, ChainOpenOptions options)
        : base(chain.Name, chain.Length, chain.IsReadOnly)
    {
        _chain = chain;
        _isReadOnly = chain.IsReadOnly;
        _opener = opener;
        _options = options;
    }

    /// <summary>The images, base first.</summary>
    public IReadOnlyList<ImageLayer> Layers => _chain.Layers;

    /// <summary>Whether the last image is open for reading only; an image stacked on it changes that.</summary>
    /// <remarks>Asked before a request waits for an exchange of images, in the middle of which the last of them may not be writable.</remarks>
    public override bool IsReadOnly => _isReadOnly;

    /// <summary>Whether changes are refused for the time being: see <see cref="ProtectAsync"/>.</summary>
    public bool IsProtected => _isProtected;

    /// <inheritdoc cref="DiskChain.Failure"/>
    public Exception? Failure => _chain.Failure;

    public override int LogicalSectorSize => _chain.LogicalSectorSize;

    public override bool IsRotational => _chain.IsRotational;

    /// <summary>
    /// Refuses changes from now on. Those that are under way are waited for and made durable first, so that the disk stays as it is then, until
    /// <see cref="Unprotect"/>. Images may be exchanged meanwhile.
    /// </summary>
    /// <param name="cancellationToken">Gives up; changes go on then.</param>
    /// <exception cref="DiskException">What was written cannot be made durable; changes go on.</exception>
    public async Task ProtectAsync(CancellationToken cancellationToken = default)
    {
        await using var closed = await CloseAllAsync(cancellationToken);
        await _chain.FlushAsync(cancellationToken);
        _isProtected = true;
    }

    /// <summary>Takes changes again.</summary>
    public void Unprotect() => _isProtected = false;

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        if (!_gate.TryEnter(offset, buffer.Length, out var pass))
        {
            return ReadLaterAsync(offset, buffer, cancellationToken);
        }

        ValueTask read;
        try
        {
            read = _chain.ReadAsync(offset, buffer, cancellationToken);
        }
        catch
        {
            _gate.Exit(pass);
            throw;
        }

        if (!read.IsCompleted)
        {
            return ThenExitAsync(read, pass);
        }

        _gate.Exit(pass);
        return read;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    protected override async ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        var pass = await _gate.EnterAsync(offset, data.Length, cancellationToken);
        try
        {
            RequireUnprotected("write");
            await _chain.WriteAsync(offset, data, WriteOptions.None, cancellationToken);
        }
        finally
        {
            Changed(offset, data.Length, pass);
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    protected override async ValueTask ZeroCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        var pass = await _gate.EnterAsync(offset, length, cancellationToken);
        try
        {
            RequireUnprotected("zeroing");
            await _chain.ZeroAsync(offset, length, keepAllocated ? WriteOptions.KeepAllocated : WriteOptions.None, cancellationToken);
        }
        finally
        {
            Changed(offset, length, pass);
        }
    }

    protected override async ValueTask<bool> CanZeroFastCoreAsync(long offset, long length, bool keepAllocated, CancellationToken cancellationToken)
    {
        var pass = await _gate.EnterAsync(offset, length, cancellationToken);
        try
        {
            return await _chain.CanZeroFastAsync(offset, length, keepAllocated ? WriteOptions.KeepAllocated : WriteOptions.None, cancellationToken);
        }
        finally
        {
            _gate.Exit(pass);
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    protected override async ValueTask TrimCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var pass = await _gate.EnterAsync(offset, length, cancellationToken);
        try
        {
            RequireUnprotected("trim");
            await _chain.TrimAsync(offset, length, WriteOptions.None, cancellationToken);
        }
        finally
        {
            Changed(offset, length, pass);
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    protected override async ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        var pass = await _gate.EnterAsync(-1, 0, cancellationToken);
        try
        {
            await _chain.FlushAsync(cancellationToken);
        }
        finally
        {
            _gate.Exit(pass);
        }
    }

    protected override async ValueTask<DiskExtent> MapCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var pass = await _gate.EnterAsync(offset, length, cancellationToken);
        try
        {
            return await _chain.MapAsync(offset, length, cancellationToken);
        }
        finally
        {
            _gate.Exit(pass);
        }
    }

    protected override async ValueTask DisposeCoreAsync()
    {
        await _chain.DisposeAsync();
        _gate.Dispose();
        _operation.Dispose();
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask ThenExitAsync(ValueTask request, RequestGate.Pass pass)
    {
        try
        {
            await request;
        }
        finally
        {
            _gate.Exit(pass);
        }
    }

    private async ValueTask ReadLaterAsync(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        var pass = await _gate.EnterAsync(offset, buffer.Length, cancellationToken);
        try
        {
            await _chain.ReadAsync(offset, buffer, cancellationToken);
        }
        finally
        {
            _gate.Exit(pass);
        }
    }

    /// <summary>Asked by a request that has been let in: whoever protects the disk waits for it.</summary>
    private void RequireUnprotected(string operation)
    {
        if (_isProtected)
        {
            DiskErrors.Throw(DiskErrors.ReadOnly(Name, operation));
        }
    }

    /// <summary>A change that failed may have been made in part, so it counts as well.</summary>
    private void Changed(long offset, long length, RequestGate.Pass pass)
    {
        // After the change and before the count is given back: whoever closes the gate then finds it noted.
        _tracker?.Note(offset, length);
        _gate.Exit(pass);
    }
}
