// A stand-in: see README.md.
package android.content

class AssetManager

class Context(val assets: AssetManager = AssetManager())
